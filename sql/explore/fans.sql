-- grain: one row per user in whose list the item stands highest, while it may be shown
-- as the lists were made: user_topk_now would compute all of them again
select cast(t.user_id as varchar) as id, t.rank
from user_topk as t
semi join available_items as a on t.item_id = a.item_id
where t.item_id = as_item_id($item_id)
order by t.rank, t.user_id
limit $n
