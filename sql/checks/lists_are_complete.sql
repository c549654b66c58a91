-- every user has exactly k items, or as many as the catalogue has left that the user has not seen
with catalogue as (
    select count(*) as n_items from popular_items
),

seen as (
    select user_id, count(*) as n_seen from user_items group by user_id
),

listed as (
    select user_id, count(*) as n_listed from user_topk group by user_id
),

users as (
    select
        coalesce(s.user_id, l.user_id) as user_id,
        coalesce(s.n_seen, 0) as n_seen,
        coalesce(l.n_listed, 0) as n_listed
    from seen as s
    full join listed as l on s.user_id = l.user_id
)

select u.user_id, u.n_listed as found, least(r.k, c.n_items - u.n_seen) as expected
from users as u
cross join catalogue as c
cross join run_info as r
where found != expected
