-- a user's history lies together and, row by row, holds an item once; a user has one vector
with rows_in_order as (
    select
        user_id,
        item_id,
        user_id is distinct from lag(user_id) over () as is_first,
        item_id <= lag(item_id) over () as is_not_above
    from user_items
)

select 'history' as place, cast(user_id as varchar) as owner
from rows_in_order
where is_first
group by user_id
having count(*) > 1
union all
select 'item', cast(user_id as varchar) from rows_in_order where not is_first and is_not_above
union all
select 'vector', cast(user_id as varchar) from user_embeddings group by user_id having count(*) > 1
