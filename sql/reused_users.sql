-- grain: one row per user whose list stays: full, of personal items only, and made from the very history that they have now;
-- histories are compared by digests of 64 bits a pair
create or replace temp table reused as
with history as (
    select i.user_id, i.item_id, i.weight
    from read_parquet($interactions) as i
    semi join read_parquet($items) as c on i.item_id = c.item_id
),

same_history as (
    select user_id, count(*) as n_items, sum(hash(item_id, weight)) as digest from history group by user_id
    intersect
    select user_id, count(*), sum(hash(item_id, weight)) from earlier.user_items group by user_id
),

listed as (
    select user_id, source from earlier.user_topk
    union all
    select user_id, source from earlier.user_spares
)

select l.user_id
from listed as l
semi join same_history as h on l.user_id = h.user_id
group by l.user_id
having count(*) = $n_listed and bool_and(l.source = 'personal');
