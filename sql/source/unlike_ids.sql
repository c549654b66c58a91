-- grain: one row: how many rows of the metadata have an id that is not of the type of the events' ids, and one of those
select count(*), any_value(item_id)
from source_items
where item_id is null or cast(try_cast(item_id as $id_type) as varchar) is distinct from item_id
