-- grain: one row per item of the catalogue; score is the number of users for whom it counts
create table output.popular_items as
select
    cast(row_number() over (order by n_users desc, item_id) as integer) as rank,
    item_id,
    cast(n_users as float) as score
from read_parquet($items, hive_partitioning = false)
order by rank;
