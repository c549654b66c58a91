-- rows stand in the order of the table's first key, so that a look-up needs no index
with placed as (
    select 'user_topk' as name, cast(user_id as varchar) as id, user_id <= lead(user_id) over () as is_sorted from user_topk
    union all
    select 'user_spares', cast(user_id as varchar), user_id <= lead(user_id) over () from user_spares
    union all
    select 'item_neighbors', cast(item_id as varchar), item_id <= lead(item_id) over () from item_neighbors
    union all
    select 'user_items', cast(user_id as varchar), user_id <= lead(user_id) over () from user_items
    union all
    select 'items', cast(item_id as varchar), item_id < lead(item_id) over () from items
    union all
    select 'catalogue', cast(item_id as varchar), item_id < lead(item_id) over () from catalogue
    union all
    select 'item_embeddings', cast(item_id as varchar), item_id < lead(item_id) over () from item_embeddings
    union all
    select 'item_residuals', cast(item_id as varchar), item_id <= lead(item_id) over () from item_residuals
    union all
    select 'user_embeddings', cast(user_id as varchar), user_id < lead(user_id) over () from user_embeddings
    union all
    select 'popular_items', cast(item_id as varchar), rank < lead(rank) over () from popular_items
)

select name, id
from placed
where not is_sorted
