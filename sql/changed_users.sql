-- grain: one row per user, of now or of the published tables, with rows to compute again
-- has_new_history: the user's items of the catalogue, or their weights, differ from the published ones
-- has_new_list: those that the model knows differ, or the published list is short, or has popular items
-- histories are compared by sums of 64-bit digests of their pairs; true is there because the digest of zeros is 0, and
-- the outer hash because the inner one mixes only the bits of what comes first
create or replace temp table changed as
with pairs as (
    select true as is_now, i.user_id, k.is_scored, hash(hash(true, i.item_id, i.weight)) as digest
    from interactions as i
    inner join known_items as k on i.item_id = k.item_id
    union all
    select false, e.user_id, k.is_scored, hash(hash(true, e.item_id, e.weight))
    from earlier.user_items as e
    left join known_items as k on e.item_id = k.item_id
),

digests as (
    select user_id, is_now, sum(digest) as of_all, coalesce(sum(digest) filter (where is_scored), 0) as of_known
    from pairs
    group by user_id, is_now
),

now as (
    select u.user_id, d.of_all, d.of_known
    from matrix_users as u
    left join digests as d on u.user_id = d.user_id and d.is_now
),

earlier_lists as (
    select user_id, count(*) = $n_listed and bool_and(source = 'personal') as is_whole
    from (
        select user_id, source from earlier.user_topk
        union all
        select user_id, source from earlier.user_spares
    )
    group by user_id
),

earlier_users as (
    select coalesce(d.user_id, l.user_id) as user_id, d.of_all, d.of_known, coalesce(l.is_whole, false) as is_whole
    from (from digests where not is_now) as d
    full join earlier_lists as l on d.user_id = l.user_id
)

select
    coalesce(n.user_id, e.user_id) as user_id,
    n.of_all is distinct from e.of_all as has_new_history,
    n.of_known is distinct from e.of_known or not coalesce(e.is_whole, false) as has_new_list
from now as n
full join earlier_users as e on n.user_id = e.user_id
where has_new_history or has_new_list;
