-- grain: one row per rank of the user's list
create macro recommend(of_user, k := $k) as table
select __t.rank, __t.item_id, __i.title, __t.score, __t.source
from user_topk_now as __t
left join items as __i on __t.item_id = __i.item_id
where __t.user_id = as_user_id(of_user) and __t.rank <= k
order by __t.rank;

-- The user's list, of the items that are available at this moment: from recommend('42', k := 20)
