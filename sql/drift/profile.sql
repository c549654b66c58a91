-- grain: one row per metric of the new events without a backfill
-- gini: of the events per item, 0 where all items have equally many, towards 1 where few have nearly all
with new as (
    select * from new_events where not is_backfill
),

active_users as (
    select distinct user_id from new
),

active_items as (
    select item_id, count(*) as n_events, row_number() over (order by n_events) as place
    from new
    group by item_id
),

users as (
    select
        count(*) as n,
        count(*) filter (where user_id not in (select user_id from events where is_accepted)) as n_new
    from active_users
),

items as (
    select
        count(*) as n,
        count(*) filter (where item_id not in (select item_id from events where is_accepted)) as n_new,
        cast(sum(n_events) as double) as n_events,
        sum(place * n_events) as weighted
    from active_items
)

unpivot (
    select
        i.n_events as events,
        cast(u.n as double) as active_users,
        cast(i.n as double) as active_items,
        u.n_new / u.n as share_of_new_users,
        i.n_new / i.n as share_of_new_items,
        i.n_events / u.n as events_per_user,
        2 * i.weighted / (i.n * i.n_events) - (i.n + 1) / i.n as gini
    from users as u
    cross join items as i
)
on columns(*)
into name metric value observed
