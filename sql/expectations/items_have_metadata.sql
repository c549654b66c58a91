-- at least $min_share of the items in the events have a row in the metadata
select count(*) as n_items, count(m.item_id) as n_with_metadata, round(n_with_metadata / n_items, 4) as share
from (select distinct item_id from {batch}) as e
left join items as m on e.item_id = m.item_id
having coalesce(share < $min_share, true)
