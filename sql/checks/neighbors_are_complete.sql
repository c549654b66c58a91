-- every item that training saw has as many neighbours as asked for, or as there are other such items
with known as (
    select count(*) as n_items from item_embeddings
),

found as (
    select e.item_id, count(n.item_id) as n_neighbors
    from item_embeddings as e
    left join item_neighbors as n on e.item_id = n.item_id
    group by e.item_id
)

select f.item_id, f.n_neighbors as found, least(r.neighbors, k.n_items - 1) as expected
from found as f
cross join known as k
cross join run_info as r
where found != expected
