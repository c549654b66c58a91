-- grain: one row per user and item of the catalogue that the user ever saw; weight 0 where it was seen but does not count
create table output.user_items as
select i.user_id, i.item_id, i.weight
from read_parquet($interactions) as i
semi join read_parquet($items) as c on i.item_id = c.item_id
order by i.user_id, i.item_id;
