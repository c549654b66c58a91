-- backup items follow a full list, without gaps, and hold nothing that is listed or seen
with ranked as (
    select s.user_id, count(*) as n_rows, min(s.rank) as first, max(s.rank) as last, count(distinct s.item_id) as n_items
    from user_spares as s
    group by s.user_id
),

taken as (
    select user_id, item_id from user_topk
    union all
    select user_id, item_id from user_items
)

select r.user_id, 'ranks' as what
from ranked as r
cross join run_info as i
where r.first != i.k + 1 or r.last != i.k + r.n_rows or r.n_items != r.n_rows
union all
select s.user_id, 'listed or seen'
from user_spares as s
semi join taken as t on s.user_id = t.user_id and s.item_id = t.item_id
