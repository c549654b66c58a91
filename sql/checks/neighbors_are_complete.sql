-- every item that training saw has as many neighbours as asked for, or as there are other such items
with known as (
    select item_id from item_embeddings
    union
    select item_id from item_neighbors
),

found as (
    select k.item_id, count(n.item_id) as n_neighbors
    from known as k
    left join item_neighbors as n on k.item_id = n.item_id
    group by k.item_id
)

select f.item_id, f.n_neighbors as found, least(r.neighbors, c.n_items - 1) as expected
from found as f
cross join (select count(*) as n_items from known) as c
cross join run_info as r
where found != expected
