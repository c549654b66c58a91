-- ranks run from 1 without gaps or repeats, in lists and among neighbours
with ranked as (
    select cast(user_id as varchar) as owner, rank from user_topk
    union all by name
    select 'neighbours of ' || item_id as owner, rank from item_neighbors
)

select owner, count(*) as n_rows, count(distinct rank) as n_ranks, min(rank) as first, max(rank) as last
from ranked
group by owner
having n_rows != n_ranks or first != 1 or last != n_rows
