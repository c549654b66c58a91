-- scores are finite and fall with the rank, within one source
with scored as (
    select cast(user_id as varchar) as owner, rank, score, source from user_topk
    union all
    select 'neighbours of ' || item_id, rank, score, 'neighbours' from item_neighbors
    union all
    select 'popular_items', rank, score, 'popular' from popular_items
)

select owner, rank, score
from scored
qualify not isfinite(score) or score > lag(score) over (partition by owner, source order by rank)
