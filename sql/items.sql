-- grain: one row per item of the metadata file; $id_type is put in: the type that item_id has in events
create or replace table items as
select * replace (try_cast(item_id as $id_type) as item_id)
from source_items
where cast(try_cast(item_id as $id_type) as varchar) = item_id
