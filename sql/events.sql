-- grain: one row per event of the files that count, however often it was delivered, in whatever order
-- an event is known by its id; without one, by all of its columns. Of several with one id, the last in time is kept
-- is_accepted: an accepted file holds it, maybe one that is about to be replaced
create or replace table events as
with delivered as (
    select
        r.*,
        f.is_valid is not distinct from true as is_accepted,
        a.file_id is not null as is_active
    from event_rows as r
    inner join event_files as f on r.file_id = f.file_id
    left join active_files as a on r.file_id = a.file_id
),

without_id as (
    select
        cast(null as varchar) as event_id,
        user_id,
        item_id,
        timestamp,
        value,
        event_type,
        min(file_id) filter (where is_active) as file_id,
        count(*) filter (where is_active) as n_deliveries,
        bool_or(is_accepted) as is_accepted
    from delivered
    where event_id is null
    group by user_id, item_id, timestamp, value, event_type
),

latest_of_id as (
    select
        event_id,
        unnest(max(struct_pack(
            is_timed := timestamp is not null, "timestamp" := timestamp, user_id := user_id, item_id := item_id,
            is_valued := value is not null, value := value, event_type := event_type, file_id := file_id
        )) filter (where is_active)),
        count(*) filter (where is_active) as n_deliveries,
        bool_or(is_accepted) as is_accepted
    from delivered
    where event_id is not null
    group by event_id
)

select * from without_id where n_deliveries > 0
union all by name
select * exclude (is_timed, is_valued) from latest_of_id where n_deliveries > 0
