-- grain: one row per item of the most popular ones, to begin with
select cast(p.item_id as varchar) as id, cast(i.title as varchar) as title, cast(p.score as bigint) as n_users
from popular_items as p
inner join items as i on p.item_id = i.item_id
order by p.rank
limit $n
