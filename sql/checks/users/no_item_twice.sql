-- no list and no neighbourhood holds an item twice
select 'list' as place, cast(user_id as varchar) as owner, cast(item_id as varchar) as item
from user_topk group by user_id, item_id having count(*) > 1
union all
select 'neighbours', cast(item_id as varchar), cast(neighbor_item_id as varchar)
from item_neighbors group by item_id, neighbor_item_id having count(*) > 1
