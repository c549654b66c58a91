-- grain: one row per user with a list whose id begins with the text, the shortest id first
select cast(user_id as varchar) as id
from user_topk
where rank = 1 and starts_with(cast(user_id as varchar), $text)
order by length(cast(user_id as varchar)), user_id
limit $n
