-- grain: one row per user and item of the catalogue that the user ever saw; weight 0 where it was seen but does not count
create table output.user_items as
select h.user_id, h.item_id, h.weight
from histories as h
semi join read_parquet($items, hive_partitioning = false) as c on h.item_id = c.item_id
order by h.user_id, h.item_id;
