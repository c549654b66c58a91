-- a user, with a list of their own if anybody has one, and a history of middling length
select t.user_id
from user_topk as t
left join (select user_id, count(*) as n_items from user_items group by user_id) as h on t.user_id = h.user_id
where t.rank = 1
order by t.source != 'personal', abs(coalesce(h.n_items, 0) - 50), t.user_id
limit 1
