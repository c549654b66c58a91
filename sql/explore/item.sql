-- grain: one row for the item, if it is in the catalogue
select cast(i.item_id as varchar) as id, cast(i.title as varchar) as title, cast(p.score as bigint) as n_users, p.rank as popularity
from items as i
inner join popular_items as p on i.item_id = p.item_id
where i.item_id = as_item_id($item_id)
