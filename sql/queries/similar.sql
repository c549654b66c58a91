-- grain: one row per rank of the item's neighbours; ids are compared as text, so numbers and text both work
select n.rank, n.neighbor_item_id as item_id, i.title, round(n.score, 4) as score
from item_neighbors as n
left join items as i on n.neighbor_item_id = i.item_id
where cast(n.item_id as varchar) = $item_id and n.rank <= $k
order by n.rank
