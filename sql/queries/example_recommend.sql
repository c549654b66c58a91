select rank, item_id, title, round(score, 3) as score, source
from user_topk join items using (item_id)
where user_id = $user_id and rank <= 5 order by rank
