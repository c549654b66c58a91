-- grain: one row per fortieth of the range of scores: how many places of the personal lists have such a score
with personal as (
    select cast(score as double) as score from user_topk where source = 'personal'
),

edges as (
    select min(score) as least, greatest((max(score) - min(score)) / 40, 1e-12) as width from personal
),

placed as (
    select least(39, floor((p.score - e.least) / e.width)) as place, e.least, e.width
    from personal as p
    cross join edges as e
)

select least + width * place as score, width, count(*) as n
from placed
group by place, least, width
order by score
