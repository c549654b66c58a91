-- every item that training saw has the configured number of neighbours, or as many as the rules leave
-- with neighbors_min_users: of a hundred items, all those that share enough users with it
with rules as (
    select
        neighbors,
        created_at,
        cast(config ->> '$.recommendations.same_category' as boolean) as same_category,
        cast(config ->> '$.recommendations.neighbors_min_users' as integer) as min_users
    from run_info
),

found as (
    select item_id, count(*) as n_neighbors from item_neighbors group by item_id
),

known as (
    select c.*, coalesce(f.n_neighbors, 0) as found
    from catalogue as c
    left join found as f on c.item_id = f.item_id
    where c.is_scored or f.item_id is not null
),

candidates as (
    select k.item_id, if(r.same_category, k.category, '') as category
    from known as k
    cross join rules as r
    where is_available(k.is_allowed, k.is_hidden, k.available_from, k.available_until, r.created_at)
),

looked_at as (
    select k.item_id, k.found, if(r.same_category, k.category, '') as category, r.neighbors, r.min_users
    from known as k
    cross join rules as r
    qualify r.min_users = 0 or row_number() over (order by md5(cast(k.item_id as varchar))) <= 100
),

shared as (
    select o.item_id, t.item_id as neighbor_item_id
    from looked_at as o
    inner join user_items as h on o.item_id = h.item_id and h.weight > 0
    inner join user_items as t on h.user_id = t.user_id and t.weight > 0
    where o.min_users > 0
    group by o.item_id, t.item_id
    having count(*) >= any_value(o.min_users)
),

of_category as (
    select category, count(*) as n_candidates from candidates group by category
),

possible as (
    select o.item_id, a.n_candidates - if(c.item_id is null, 0, 1) as n_possible
    from looked_at as o
    inner join of_category as a on o.category = a.category
    left join candidates as c on o.item_id = c.item_id
    where o.min_users = 0
    union all
    select o.item_id, count(*)
    from looked_at as o
    inner join shared as s on o.item_id = s.item_id
    inner join candidates as c on s.neighbor_item_id = c.item_id and o.category = c.category
    where o.item_id != c.item_id
    group by o.item_id
)

select o.item_id, o.found, least(o.neighbors, coalesce(p.n_possible, 0)) as expected
from looked_at as o
left join possible as p on o.item_id = p.item_id
where found != expected
