-- grain: one row per (user_id, item_id) that the user ever had an event with
-- only of events before $before, if it is given
-- weight: the strongest of the pair's events, faded by its age at the newest event; 0 where none of them counts
-- first_at, last_at: the first and the last event that counts
create or replace temp table interactions as
with events as (
    select * from warehouse.events
    where $before is null or timestamp < cast($before as timestamp)
),

newest as (
    select max(timestamp) as newest_at from events
),

weighted as (
    select
        user_id,
        item_id,
        timestamp,
        case
            when $min_value is not null and coalesce(value < $min_value, true) then 0
            when len($event_types) = 0 then 1
            else coalesce($event_weights[list_position($event_types, event_type)], 0)
        end as weight,
        epoch(newest_at - timestamp) / 86400 as age_days
    from events
    cross join newest
),

faded as (
    select
        user_id,
        item_id,
        timestamp,
        case
            when $binarize then sign(weight)
            when $half_life_days is not null then weight * pow(0.5, least(age_days / $half_life_days, $max_half_lives))
            else weight
        end as weight
    from weighted
)

select
    user_id,
    item_id,
    cast(max(weight) as float) as weight,
    min(timestamp) filter (where weight > 0) as first_at,
    max(timestamp) filter (where weight > 0) as last_at
from faded
group by user_id, item_id;
