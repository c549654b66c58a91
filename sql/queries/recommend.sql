-- grain: one row per rank of the user's list
select rank, item_id, title, round(score, 4) as score, source from recommend($user_id, k := $k)
