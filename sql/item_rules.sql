-- grain: one row per column of the matrices, in their order: whether the rules allow the item at the moment $at
select
    i.item_id,
    is_available(
        coalesce(r.is_allowed, not $has_filters),
        coalesce(r.is_hidden, false),
        r.available_from,
        r.available_until,
        cast($at as timestamptz)
    ) as is_allowed,
    case when r.category is null then -1 else dense_rank() over (order by r.category) end as category
from read_parquet($items, hive_partitioning = false) as i
left join read_parquet($rules, hive_partitioning = false) as r on i.item_id = r.item_id
order by i.item_idx
