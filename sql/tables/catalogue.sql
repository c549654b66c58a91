-- grain: one row per item that counts for a user
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
left join rules as r on s.item_id = r.item_id
order by s.item_id;

-- What the rules and the model say of each item of the catalogue
-- item_id: The item
-- is_scored: Whether this file can score it: training saw it, and its weights are in this file
-- n_neighbors: Number of its neighbours in item_neighbors
-- category: Its category; null without source.items.category
-- is_allowed: Whether it satisfies all of recommendations.filters
-- is_hidden: Whether the metadata hides it
-- available_from: Not available before this moment
-- available_until: Not available from this moment on
