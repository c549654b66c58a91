-- grain: one row per item that counts for somebody
create table output.catalogue as
with neighbors as (
    select item_id, count(*) as n_neighbors from output.item_neighbors group by item_id
)

select
    s.item_id,
    s.is_scored,
    cast(coalesce(n.n_neighbors, 0) as integer) as n_neighbors,
    r.category,
    coalesce(r.is_allowed, not $has_filters) as is_allowed,
    coalesce(r.is_hidden, false) as is_hidden,
    r.available_from,
    r.available_until
from scored_items as s
left join neighbors as n on s.item_id = n.item_id
left join read_parquet($rules, hive_partitioning = false) as r on s.item_id = r.item_id
order by s.item_id;
