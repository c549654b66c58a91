-- grain: one row per item of the user's history, the strongest first
select
    item_id,
    title,
    round(share, 4) as share,
    round(100 * share / nullif(sum(share) over (), 0), 1) as percent
from explain($user_id, $item_id)
limit $k
