-- row by row, ranks run from 1 without gaps or repeats, in lists and among neighbours
select cast(user_id as varchar) as owner, rank
from user_topk
qualify rank is distinct from if(user_id is not distinct from lag(user_id) over (), lag(rank) over () + 1, 1)
union all
select 'neighbours of ' || item_id, rank
from item_neighbors
qualify rank is distinct from if(item_id is not distinct from lag(item_id) over (), lag(rank) over () + 1, 1)
