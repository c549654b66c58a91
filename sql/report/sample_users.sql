-- grain: one row per user to look at: those at five places among all with a list of their own, by the length of history
with histories as (
    select user_id, count(*) as n_items from user_items where weight > 0 group by user_id
),

placed as (
    select h.user_id, h.n_items, row_number() over (order by h.n_items, h.user_id) as place, count(*) over () as n
    from histories as h
    semi join (select user_id from user_topk where source = 'personal') as t on h.user_id = t.user_id
)

select cast(user_id as varchar) as id
from placed
where place in (select greatest(1, round(n * share)) from (select unnest([0.05, 0.3, 0.5, 0.7, 0.95]) as share))
order by place
