-- grain: one row per rank of the items with the most users
create macro popular(k := $k) as table
with __available as (
    select
        cast(row_number() over (order by __p.rank) as integer) as rank,
        __p.item_id,
        cast(__p.score as bigint) as n_users
    from popular_items as __p
    semi join available_items as __a on __p.item_id = __a.item_id
)

select __a.rank, __a.item_id, __i.title, __a.n_users
from __available as __a
left join items as __i on __a.item_id = __i.item_id
where __a.rank <= k
order by __a.rank;

-- The items with the most users, of those that are available at this moment: from popular(k := 10)
