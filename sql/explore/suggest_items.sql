-- grain: one row per item whose title or id has the text in it: those that begin with it first, then the most popular
select cast(i.item_id as varchar) as id, cast(i.title as varchar) as title, cast(p.score as bigint) as n_users
from items as i
inner join popular_items as p on i.item_id = p.item_id
where contains(lower(cast(i.title as varchar)), lower($text)) or contains(lower(cast(i.item_id as varchar)), lower($text))
order by
    i.item_id = as_item_id($text) desc nulls last,
    starts_with(lower(cast(i.title as varchar)), lower($text)) desc nulls last,
    p.rank
limit $n
