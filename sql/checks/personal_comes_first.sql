-- popular items only fill up behind personal ones
select user_id, rank
from user_topk
qualify source = 'personal' and lag(source) over (partition by user_id order by rank) = 'popular'
