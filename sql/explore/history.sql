-- grain: one row per item of the catalogue that the user ever saw, what counts first
select cast(u.item_id as varchar) as id, cast(i.title as varchar) as title, u.weight, count(*) over () as n_items
from user_items as u
inner join items as i on u.item_id = i.item_id
where u.user_id = as_user_id($user_id)
order by u.weight desc, u.item_id
limit $n
