-- grain: one row; how many people of `leaving` have events, and their events and quarantined rows
select
    (select count(distinct user_id) from events where cast(user_id as varchar) in (from leaving)) as n_known,
    (select count(*) from events where cast(user_id as varchar) in (from leaving)) as n_events,
    (select count(*) from leaving_rejected) as n_rejected
