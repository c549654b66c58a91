-- grain: one row per item that occurs in an event, with the source's metadata where it has some
create table output.items as
with seen as (
    select distinct item_id from read_parquet($interactions, hive_partitioning = false)
)

select s.item_id, m.* exclude (item_id)
from seen as s
left join warehouse.items as m on s.item_id = m.item_id
order by s.item_id;
