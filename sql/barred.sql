-- grain: one row: of the items that count, how many there are, and how many each rule bars at the moment $at
select
    count(*) as n_items,
    count(*) filter (where r.item_id is null) as n_unknown,
    count(*) filter (where r.is_hidden) as n_hidden,
    count(*) filter (where cast($at as timestamptz) < r.available_from) as n_early,
    count(*) filter (where cast($at as timestamptz) >= r.available_until) as n_expired
from read_parquet($items, hive_partitioning = false) as i
left join read_parquet($rules, hive_partitioning = false) as r on i.item_id = r.item_id
