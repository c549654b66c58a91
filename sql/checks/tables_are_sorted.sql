-- rows stand in the order of the table's first key, so that a look-up needs no index
with placed as (
    select 'user_topk' as name, rowid as place, rank, user_id <= lead(user_id) over (order by rowid) as is_sorted
    from user_topk
    union all
    select 'item_neighbors', rowid, rank, item_id <= lead(item_id) over (order by rowid) from item_neighbors
    union all
    select 'user_items', rowid, null, user_id <= lead(user_id) over (order by rowid) from user_items
    union all
    select 'items', rowid, null, item_id < lead(item_id) over (order by rowid) from items
    union all
    select 'item_embeddings', rowid, null, item_id < lead(item_id) over (order by rowid) from item_embeddings
    union all
    select 'item_residuals', rowid, null, item_id <= lead(item_id) over (order by rowid) from item_residuals
    union all
    select 'user_embeddings', rowid, null, user_id < lead(user_id) over (order by rowid) from user_embeddings
    union all
    select 'popular_items', rowid, rank, rank < lead(rank) over (order by rowid) from popular_items
)

select name, place, rank
from placed
where not is_sorted
