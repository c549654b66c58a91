-- row by row, popular items only fill up behind personal ones
select user_id, rank
from user_topk
qualify user_id = lag(user_id) over () and source = 'personal' and lag(source) over () = 'popular'
