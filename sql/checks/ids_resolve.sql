-- every item that is recommended, is a neighbour or has a weight is in the catalogue, and has a row in items
with used as (
    select item_id from user_topk
    union
    select item_id from item_neighbors
    union
    select neighbor_item_id from item_neighbors
    union
    select item_id from item_residuals
    union
    select neighbor_item_id from item_residuals
    union
    select item_id from popular_items
)

select u.item_id
from used as u
anti join (select p.item_id from popular_items as p semi join items as i on p.item_id = i.item_id) as c
    on u.item_id = c.item_id
