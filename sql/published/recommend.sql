-- grain: one row per rank of the user's list, of what may be shown at this moment
create macro output.recommend(of_user, k := $k) as table
select t.rank, t.item_id, i.title, t.score, t.source
from user_topk_now as t
left join items as i on t.item_id = i.item_id
where t.user_id = as_user_id(of_user) and t.rank <= k
order by t.rank;
