-- a user with a vector has a history, and a user with backup items has a list
select 'vector' as what, e.user_id
from user_embeddings as e
anti join (from user_items where weight > 0) as h on e.user_id = h.user_id
union all
select 'backup items', s.user_id
from user_spares as s
anti join user_topk as t on s.user_id = t.user_id
