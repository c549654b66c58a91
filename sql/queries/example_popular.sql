select p.rank, item_id, i.title, p.score as users
from popular_items p join items i using (item_id)
where p.rank <= 5 order by p.rank
