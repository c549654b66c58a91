-- nothing that is listed or a neighbour was hidden, kept back by a filter, or out of its time when the lists were made
with listed as (
    select item_id from user_topk
    union
    select item_id from user_spares
    union
    select neighbor_item_id from item_neighbors
)

select c.item_id, c.is_allowed, c.is_hidden, c.available_from, c.available_until
from catalogue as c
semi join listed as l on c.item_id = l.item_id
cross join run_info as r
where not c.is_allowed
    or c.is_hidden
    or coalesce(r.created_at < c.available_from, false)
    or coalesce(r.created_at >= c.available_until, false)
