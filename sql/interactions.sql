-- grain: one row per (user_id, item_id) that the user ever had an event with
-- weight: the strongest of the pair's events; 0 where none of them counts
-- first_at: the first event that counts
create or replace temp table interactions as
with events as (
    select * from warehouse.events where user_id is not null and item_id is not null
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
        end as weight
    from events
)

select
    user_id,
    item_id,
    cast(max(weight) as float) as weight,
    min(timestamp) filter (where weight > 0) as first_at
from weighted
group by user_id, item_id;
