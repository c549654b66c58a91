-- how times in the sources become timestamps in UTC; naive ones are read as UTC

-- Unix epochs: seconds, milliseconds, microseconds or nanoseconds, told apart by their size (years 1970 to 5138)
create or replace temp macro utc_from_number(epoch) as
    make_timestamp(cast(round(case
        when abs(epoch) < 1e11 then epoch * 1e6
        when abs(epoch) < 1e14 then epoch * 1e3
        when abs(epoch) < 1e17 then epoch
        else epoch / 1e3
    end) as bigint));

create or replace temp macro utc_from_text(written) as
    coalesce(
        utc_from_number(try_cast(written as double)),
        try_cast(written as timestamptz) at time zone 'UTC'
    );

create or replace temp macro utc_from_time(moment) as cast(moment as timestamptz) at time zone 'UTC';
