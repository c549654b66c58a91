-- how times in the sources become timestamps in UTC; naive ones are read in the session's time zone; null where they cannot be read

-- dates written as a number, such as 20260131; else Unix epochs in seconds, milliseconds, microseconds or nanoseconds,
-- told apart by their size, from 1973 on (a smaller number is no time)
create or replace temp macro utc_from_number(given) as
    case
        when given between 19000101 and 29991231
            then cast(try_strptime(cast(cast(given as bigint) as varchar), '%Y%m%d') as timestamptz) at time zone 'UTC'
        when abs(cast(given as double)) < 1e8 then null
        else make_timestamp(try_cast(round(case
            when abs(cast(given as double)) < 1e11 then given * 1e6
            when abs(cast(given as double)) < 1e14 then given * 1e3
            when abs(cast(given as double)) < 1e17 then given
            else given / 1e3
        end) as bigint))
    end;

create or replace temp macro utc_from_text(given) as
    coalesce(
        utc_from_number(try_cast(given as double)),
        try_cast(given as timestamptz) at time zone 'UTC'
    );

create or replace temp macro utc_from_moment(given) as try_cast(given as timestamptz) at time zone 'UTC';
