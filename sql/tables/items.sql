-- grain: one row per item that occurs in an event, with its metadata if the source has any
with seen as (
    select distinct item_id from interactions
)

select s.item_id, m.* exclude (item_id)
from seen as s
left join warehouse.items as m on s.item_id = m.item_id
order by s.item_id;

-- Every item that occurs in an event, with all columns of its metadata
-- item_id: The item's id, as in the events
-- title: Its title; null without metadata
