-- grain: one row per item of the user's history that the model knows; the shares add up to the score
create macro output.explain(of_user, of_item) as table
with history as (
    select h.item_id, h.weight
    from user_items as h
    where h.user_id = as_user_id(of_user) and h.weight > 0 and h.item_id != as_item_id(of_item)
),

wanted as (
    select c.item_id, e.embedding
    from catalogue as c
    left join item_embeddings as e on c.item_id = e.item_id
    where c.item_id = as_item_id(of_item) and c.is_scored
),

residuals as (
    select s.item_id, s.weight
    from item_residuals as s
    semi join history as h on s.item_id = h.item_id
    where s.neighbor_item_id = as_item_id(of_item)
)

select
    h.item_id,
    i.title,
    h.weight,
    h.weight * (r.scale * coalesce(array_inner_product(e.embedding, w.embedding), 0) + coalesce(s.weight, 0)) as share
from history as h
cross join wanted as w
cross join run_info as r
semi join (select c.item_id from catalogue as c where c.is_scored) as c on h.item_id = c.item_id
left join item_embeddings as e on h.item_id = e.item_id
left join residuals as s on h.item_id = s.item_id
left join items as i on h.item_id = i.item_id
order by share desc, h.item_id;
