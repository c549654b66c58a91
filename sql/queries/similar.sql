-- grain: one row per rank of the item's neighbours
select rank, item_id, title, round(score, 4) as score from similar($item_id, k := $k)
