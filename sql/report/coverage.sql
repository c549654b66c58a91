-- grain: one row per rank: the share of the catalogue that stands in somebody's list at this rank or before
with first as (
    select item_id, min(rank) as rank from user_topk group by item_id
),

counted as (
    select rank, count(*) as n_items from first group by rank
)

select r.rank, sum(coalesce(c.n_items, 0)) over (order by r.rank) / (select count(*) from popular_items) as share
from (select distinct rank from user_topk) as r
left join counted as c on r.rank = c.rank
order by r.rank
