-- the most popular item that has neighbours, or, where none has any, the most popular one
select p.item_id
from popular_items as p
inner join catalogue as c on p.item_id = c.item_id
order by c.n_neighbors = 0, p.rank
limit 1
