-- grain: one row per rank of the user's list; ids are compared as text, so numbers and text both work
select t.rank, t.item_id, i.title, round(t.score, 4) as score, t.source
from user_topk as t
left join items as i on t.item_id = i.item_id
where cast(t.user_id as varchar) = $user_id and t.rank <= $k
order by t.rank
