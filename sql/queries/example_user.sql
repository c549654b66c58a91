-- a user with a list of their own and a history of middling length
select user_id
from user_items
where user_id in (select user_id from user_topk where source = 'personal')
group by user_id
order by abs(count(*) - 50), user_id
limit 1
