-- grain: one row per user of whom something stays
-- keeps_history: of the catalogue, the user has the very items and weights that the published tables say
-- keeps_list: of the items that the model knows, too; and the list is full, of personal items only
-- histories are compared by sums of 64-bit digests of their pairs; true is there because the digest of zeros is 0, and
-- the outer hash because the inner one mixes only the bits of what comes first
create or replace temp table unchanged as
with pairs as (
    select true as is_now, i.user_id, i.item_id, hash(hash(true, i.item_id, i.weight)) as digest
    from read_parquet($interactions) as i
    semi join read_parquet($items) as c on i.item_id = c.item_id
    union all
    select false, user_id, item_id, hash(hash(true, item_id, weight)) from earlier.user_items
),

digests as (
    select
        p.user_id,
        p.is_now,
        sum(p.digest) as of_all,
        coalesce(sum(p.digest) filter (where k.is_scored), 0) as of_known
    from pairs as p
    left join known_items as k on p.item_id = k.item_id
    group by p.user_id, p.is_now
),

lists as (
    select user_id, count(*) as n_listed, bool_and(source = 'personal') as is_personal
    from (
        select user_id, source from earlier.user_topk
        union all
        select user_id, source from earlier.user_spares
    )
    group by user_id
)

select
    n.user_id,
    n.of_all = e.of_all as keeps_history,
    n.of_known = e.of_known and l.n_listed = $n_listed and l.is_personal as keeps_list
from digests as n
inner join digests as e on n.user_id = e.user_id and n.is_now and not e.is_now
left join lists as l on n.user_id = l.user_id
where keeps_history or keeps_list;
