-- no list holds an item that its user has seen
select t.user_id, t.item_id
from user_topk as t
inner join user_items as h on t.user_id = h.user_id and t.item_id = h.item_id
