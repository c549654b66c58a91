-- grain: one row per item that is available at this moment
create view available_items as
select item_id
from catalogue
where is_available(is_allowed, is_hidden, available_from, available_until, now());

-- The items that are available at this moment
-- item_id: The item's id, as in the events
