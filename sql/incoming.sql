-- grain: one row per row of the file being ingested
-- source_rows holds its mapped columns as they came; to_utc is the macro that fits the type of its timestamp
create or replace temp table incoming as
with converted as (
    select
        user_id,
        item_id,
        to_utc(timestamp) as utc,
        timestamp,
        if(isfinite(try_cast(value as double)), try_cast(value as double), null) as number,
        value,
        cast(event_type as varchar) as event_type
    from source_rows
)

select
    user_id,
    item_id,
    utc as timestamp,
    number as value,
    event_type,
    if(utc is null, cast(timestamp as varchar), null) as unreadable_timestamp,
    if(number is null, cast(value as varchar), null) as unreadable_value
from converted;
