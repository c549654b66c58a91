-- grain: one row per rank of the items with the most users, of what may be shown at this moment
create macro output.popular(k := $k) as table
with available as (
    select cast(row_number() over (order by p.rank) as integer) as rank, p.item_id, cast(p.score as bigint) as n_users
    from popular_items as p
    semi join available_items as a on p.item_id = a.item_id
)

select a.rank, a.item_id, i.title, a.n_users
from available as a
left join items as i on a.item_id = i.item_id
where a.rank <= k
order by a.rank;
