-- grain: one row per event, however often it was delivered, in whatever order
-- an event is known by its id; without one, by all of its columns. Of several with one id, the last in time is kept
-- is_accepted: an earlier night had it, and found that what is expected of the events held
create or replace table events as
with accepted as (
    select * from events where is_accepted
),

without_id as (
    select user_id, item_id, timestamp, value, event_type, min(file_id) as file_id, count(*) as n_deliveries
    from event_rows
    where event_id is null
    group by all
),

latest_of_id as (
    select
        event_id,
        unnest(max(struct_pack(
            is_timed := timestamp is not null, "timestamp" := timestamp, user_id := user_id, item_id := item_id,
            is_valued := value is not null, value := value, event_type := event_type, file_id := file_id
        ))),
        count(*) as n_deliveries
    from event_rows
    where event_id is not null
    group by event_id
)

select null::varchar as event_id, w.*, a.user_id is not null as is_accepted
from without_id as w
left join accepted as a
    on a.event_id is null
    and a.user_id = w.user_id
    and a.item_id = w.item_id
    and a.timestamp is not distinct from w.timestamp
    and a.value is not distinct from w.value
    and a.event_type is not distinct from w.event_type

union all by name

select l.* exclude (is_timed, is_valued), a.user_id is not null as is_accepted
from latest_of_id as l
left join accepted as a on a.event_id = l.event_id
