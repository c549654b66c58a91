-- grain: one row per row of the named table or view, which has columns user_id and item_id; score as that macro gives it
create macro score_pairs(pairs) as table
with __asked as (
    select distinct as_user_id(__p.user_id) as user_id, as_item_id(__p.item_id) as item_id
    from query_table(pairs) as __p
),

__scorable as (
    select __a.user_id, __a.item_id
    from __asked as __a
    semi join (select __h.user_id from user_items as __h where __h.weight > 0) as __u on __a.user_id = __u.user_id
    semi join (select __c.item_id from catalogue as __c where __c.is_scored) as __i on __a.item_id = __i.item_id
),

__from_residuals as (
    select __p.user_id, __p.item_id, sum(cast(__h.weight as double) * __s.weight) as score
    from __scorable as __p
    inner join user_items as __h on __p.user_id = __h.user_id
    inner join item_residuals as __s on __h.item_id = __s.item_id and __p.item_id = __s.neighbor_item_id
    group by __p.user_id, __p.item_id
),

__scored as (
    select
        __p.user_id,
        __p.item_id,
        __r.scale * (coalesce(array_inner_product(__u.embedding, __i.embedding), 0) - coalesce(__h.weight, 0))
        + coalesce(__s.score, 0) as score
    from __scorable as __p
    cross join run_info as __r
    left join user_embeddings as __u on __p.user_id = __u.user_id
    left join item_embeddings as __i on __p.item_id = __i.item_id
    left join user_items as __h on __p.user_id = __h.user_id and __p.item_id = __h.item_id
    left join __from_residuals as __s on __p.user_id = __s.user_id and __p.item_id = __s.item_id
)

select __p.*, __s.score
from query_table(pairs) as __p
left join __scored as __s on as_user_id(__p.user_id) = __s.user_id and as_item_id(__p.item_id) = __s.item_id;

-- Each row of a table or view with columns user_id and item_id, with its score: from score_pairs('candidates')
