-- scores are finite and, row by row, fall with the rank, within one source
select 'list of ' || user_id as place, rank, score
from user_topk
qualify not coalesce(isfinite(score), false)
    or (user_id = lag(user_id) over () and source = lag(source) over () and score > lag(score) over ())
union all
select 'neighbours of ' || item_id, rank, score
from item_neighbors
qualify not coalesce(isfinite(score), false) or (item_id = lag(item_id) over () and score > lag(score) over ())
union all
select 'popular_items', rank, score
from popular_items
qualify not coalesce(isfinite(score), false) or score > lag(score) over ()
