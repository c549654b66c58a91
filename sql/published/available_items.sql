-- grain: one row per item that may be shown at this moment
create view output.available_items as
select item_id
from catalogue
where is_allowed
    and not is_hidden
    and coalesce(now() >= available_from, true)
    and coalesce(now() < available_until, true);
