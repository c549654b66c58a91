select n.rank, i.item_id, i.title, round(n.score, 3) as score
from item_neighbors n join items i on i.item_id = n.neighbor_item_id
where n.item_id = $item_id and n.rank <= 5 order by n.rank
