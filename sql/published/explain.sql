-- grain: one row per item of the user's history that the model knows; the shares add up to the score
create macro explain(of_user, of_item) as table
with __history as (
    select __h.item_id, __h.weight
    from user_items as __h
    where __h.user_id = as_user_id(of_user) and __h.weight > 0 and __h.item_id != as_item_id(of_item)
),

__wanted as (
    select __c.item_id, __e.embedding
    from catalogue as __c
    left join item_embeddings as __e on __c.item_id = __e.item_id
    where __c.item_id = as_item_id(of_item) and __c.is_scored
),

__residuals as (
    select __s.item_id, __s.weight
    from item_residuals as __s
    semi join __history as __h on __s.item_id = __h.item_id
    where __s.neighbor_item_id = as_item_id(of_item)
)

select
    __h.item_id,
    __i.title,
    __h.weight,
    __h.weight
    * (__r.scale * coalesce(array_inner_product(__e.embedding, __w.embedding), 0) + coalesce(__s.weight, 0)) as share
from __history as __h
cross join __wanted as __w
cross join run_info as __r
semi join (select __c.item_id from catalogue as __c where __c.is_scored) as __c on __h.item_id = __c.item_id
left join item_embeddings as __e on __h.item_id = __e.item_id
left join __residuals as __s on __h.item_id = __s.item_id
left join items as __i on __h.item_id = __i.item_id
order by share desc, __h.item_id;

-- The items of the user's history that contribute to the item's score, the largest share first; the shares add up to the score: from explain('42', '318')
