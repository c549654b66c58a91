-- grain: one row per event, however often it was delivered, in whatever order
-- an event is known by its id; without one, by all of its columns. Of several with one id, the last in time is kept
create or replace table events as
select user_id, item_id, timestamp, value, event_type, min(file_id) as file_id, count(*) as n_deliveries
from event_rows
where event_id is null
group by all

union all by name

select * exclude (is_timed, is_valued) from (select
    unnest(max(struct_pack(
        is_timed := timestamp is not null, "timestamp" := timestamp, user_id := user_id, item_id := item_id,
        is_valued := value is not null, value := value, event_type := event_type, file_id := file_id
    ))),
    count(*) as n_deliveries
from event_rows
where event_id is not null
group by event_id)
