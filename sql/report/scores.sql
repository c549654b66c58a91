-- grain: one row per fortieth of the range of scores: how many places of the personal lists have such a score
with personal as (
    select cast(score as double) as score from user_topk where source = 'personal'
),

edges as (
    select min(score) as least, greatest((max(score) - min(score)) / 40, 1e-12) as width from personal
)

select e.least + e.width * b.place as score, any_value(e.width) as width, count(*) as n
from personal as p
cross join edges as e
cross join lateral (select least(39, floor((p.score - e.least) / e.width)) as place) as b
group by all
order by score
