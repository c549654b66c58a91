-- every user has exactly k items, or as many as the rules and the cap leave of those that the user has not seen
with rules as (
    select
        k,
        created_at,
        coalesce(cast(config ->> '$.recommendations.max_per_category' as integer), n_items) as cap,
        n_items
    from run_info
),

allowed as (
    select c.item_id, c.category, r.k, if(c.category is null, r.n_items, r.cap) as cap
    from catalogue as c
    cross join rules as r
    where is_available(c.is_allowed, c.is_hidden, c.available_from, c.available_until, r.created_at)
),

categories as (
    select category, any_value(cap) as cap, count(*) as n_items, least(any_value(cap), count(*)) as n_for_anyone
    from allowed
    group by category
),

seen as (
    select u.user_id, a.category, count(*) as n_seen
    from user_items as u
    inner join allowed as a on u.item_id = a.item_id
    group by u.user_id, a.category
),

taken as (
    select s.user_id, sum(c.n_for_anyone - least(c.cap, c.n_items - s.n_seen)) as n_less
    from seen as s
    inner join categories as c on s.category is not distinct from c.category
    group by s.user_id
),

listed as (
    select user_id, count(*) as n_listed from user_topk group by user_id
),

users as (
    select user_id from user_items
    union
    select user_id from listed
)

select
    u.user_id,
    coalesce(l.n_listed, 0) as found,
    least((select k from rules), (select coalesce(sum(n_for_anyone), 0) from categories) - coalesce(t.n_less, 0)) as expected
from users as u
left join listed as l on u.user_id = l.user_id
left join taken as t on u.user_id = t.user_id
where found != expected
