-- grain: one row per row of the file being read
-- source_rows holds its mapped columns, the whole row, and what its ids and quarantine.conditions say against it;
-- to_utc is the macro that fits the type of its timestamp; reasons is empty for a row that can be used
create or replace temp table incoming as
with converted as (
    select
        *,
        to_utc(timestamp) as utc,
        if(isfinite(try_cast(value as double)), try_cast(value as double), null) as number
    from source_rows
),

judged as (
    select
        *,
        concat_ws(
            '; ',
            no_user,
            no_item,
            odd_id('event id', cast(event_id as varchar)),
            if($has_times and timestamp is null, 'no time', null),
            if(timestamp is not null and utc is null, 'unreadable time', null),
            if(epoch(utc - now() at time zone 'UTC') > 3600 * $max_hours_ahead, 'time in the future', null),
            if(utc < cast($earliest as timestamp), 'time too early', null),
            if(value is not null and number is null, 'value is no number', null),
            if(number < $min_value or number > $max_value, 'value out of range', null),
            conditions
        ) as reasons
    from converted
)

select
    row_number,
    cast(event_id as varchar) as event_id,
    user_id,
    item_id,
    utc as timestamp,
    number as value,
    cast(event_type as varchar) as event_type,
    reasons,
    if(reasons = '', null, cast(to_json(whole_row) as varchar)) as raw
from judged
