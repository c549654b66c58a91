-- rows are sorted by the table's first key, so that a look-up needs no index; in tables of users inside the file, each
-- refresh since all rows were computed has appended the rows of its users, sorted, too
with placed as (
    select 'item_neighbors' as name, cast(item_id as varchar) as id, item_id <= lead(item_id) over () as is_sorted
    from item_neighbors
    union all
    select 'items', cast(item_id as varchar), item_id < lead(item_id) over () from items
    union all
    select 'catalogue', cast(item_id as varchar), item_id < lead(item_id) over () from catalogue
    union all
    select 'item_embeddings', cast(item_id as varchar), item_id < lead(item_id) over () from item_embeddings
    union all
    select 'item_residuals', cast(item_id as varchar), item_id <= lead(item_id) over () from item_residuals
    union all
    select 'popular_items', cast(item_id as varchar), rank < lead(rank) over () from popular_items
),

placed_users as (
    select 'user_topk' as name, cast(user_id as varchar) as id, user_id <= lead(user_id) over () as is_sorted
    from user_topk
    union all
    select 'user_spares', cast(user_id as varchar), user_id <= lead(user_id) over () from user_spares
    union all
    select 'user_items', cast(user_id as varchar), user_id <= lead(user_id) over () from user_items
    union all
    select 'user_embeddings', cast(user_id as varchar), user_id < lead(user_id) over () from user_embeddings
)

select name, id
from placed
where not is_sorted
union all
select name, any_value(id)
from placed_users
where not is_sorted
group by name
having count(*) > (
    select if(name in (select table_name from duckdb_tables()), any_value(n_refreshes), 0) from run_info
);
