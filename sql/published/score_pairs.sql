-- grain: one row per row of the named table or view, which has columns user_id and item_id; score as that macro gives it
create macro output.score_pairs(pairs) as table
with asked as (
    select distinct as_user_id(p.user_id) as user_id, as_item_id(p.item_id) as item_id
    from query_table(pairs) as p
),

scorable as (
    select a.user_id, a.item_id
    from asked as a
    semi join (select h.user_id from user_items as h where h.weight > 0) as u on a.user_id = u.user_id
    semi join (select c.item_id from catalogue as c where c.is_scored) as i on a.item_id = i.item_id
),

from_residuals as (
    select p.user_id, p.item_id, sum(cast(h.weight as double) * s.weight) as score
    from scorable as p
    inner join user_items as h on p.user_id = h.user_id
    inner join item_residuals as s on h.item_id = s.item_id and p.item_id = s.neighbor_item_id
    group by p.user_id, p.item_id
),

scored as (
    select
        p.user_id,
        p.item_id,
        r.scale * (coalesce(array_inner_product(u.embedding, i.embedding), 0) - coalesce(h.weight, 0))
        + coalesce(s.score, 0) as score
    from scorable as p
    cross join run_info as r
    left join user_embeddings as u on p.user_id = u.user_id
    left join item_embeddings as i on p.item_id = i.item_id
    left join user_items as h on p.user_id = h.user_id and p.item_id = h.item_id
    left join from_residuals as s on p.user_id = s.user_id and p.item_id = s.item_id
)

select p.*, s.score
from query_table(pairs) as p
left join scored as s on as_user_id(p.user_id) = s.user_id and as_item_id(p.item_id) = s.item_id;
