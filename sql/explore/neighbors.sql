-- grain: one row per rank of the item's neighbours, of what may be shown at this moment
select rank, cast(item_id as varchar) as id, cast(title as varchar) as title, score
from similar($item_id, k := $k)
order by rank
