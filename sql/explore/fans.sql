-- grain: one row per user in whose list the item stands highest
select cast(user_id as varchar) as id, rank
from user_topk
where cast(item_id as varchar) = $item_id
order by rank, user_id
limit $n
