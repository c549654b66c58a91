-- grain: one row per rank of the item's neighbours
select n.rank, cast(n.neighbor_item_id as varchar) as id, cast(i.title as varchar) as title, n.score
from item_neighbors as n
inner join items as i on n.neighbor_item_id = i.item_id
where cast(n.item_id as varchar) = $item_id and n.rank <= $k
order by n.rank
