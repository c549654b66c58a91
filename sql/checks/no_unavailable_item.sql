-- every listed item and every neighbour was available when the lists were computed
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
where not is_available(c.is_allowed, c.is_hidden, c.available_from, c.available_until, r.created_at)
