-- how times in the sources become timestamps in UTC; naive ones are read in the session's time zone; null where they cannot be read

create or replace temp macro utc_from_digits(given, form) as
    cast(try_strptime(cast(cast(given as bigint) as varchar), form) as timestamptz) at time zone 'UTC';

-- dates written as a number of 8, 12, 14 or 17 digits, such as 20260131 or 202601311459; else Unix epochs in seconds,
-- milliseconds, microseconds or nanoseconds, told apart by their size, from 1973 on (a smaller number is no time)
create or replace temp macro utc_from_number(given) as
    case
        when given between 19000101 and 29991231 then utc_from_digits(given, '%Y%m%d')
        when given between 190001010000 and 209912312359 then utc_from_digits(given, '%Y%m%d%H%M')
        when given between 19000101000000 and 20991231235959 then utc_from_digits(given, '%Y%m%d%H%M%S')
        when given between 19000101000000000 and 20991231235959999 then utc_from_digits(given, '%Y%m%d%H%M%S%g')
        when abs(cast(given as double)) < 1e8 then null
        else make_timestamp(try_cast(round(case
            when abs(cast(given as double)) < 1e11 then given * 1e6
            when abs(cast(given as double)) < 1e14 then given * 1e3
            when abs(cast(given as double)) < 1e17 then given
            else given / 1e3
        end) as bigint))
    end;

-- no number is ISO text
create or replace temp macro utc_from_text(given) as
    coalesce(
        try_cast(given as timestamptz) at time zone 'UTC',
        if(
            regexp_full_match(given, '[0-9]+'),
            utc_from_number(try_cast(given as bigint)),
            utc_from_number(try_cast(given as double))
        )
    );

create or replace temp macro utc_from_moment(given) as try_cast(given as timestamptz) at time zone 'UTC';

create or replace temp macro finite(given) as if(isfinite(given), given, null);

-- why what was given for an id cannot be used; null where it can
create or replace temp macro no_number(owner, given, id) as
    case when given is null then 'no ' || owner when id is null then owner || ' is no integer' end;

create or replace temp macro odd_id(owner, given) as
    case
        when given[1] in ('[', '{') and json_valid(given) then owner || ' is a list or an object'
        when contains(given, '+') and regexp_full_match(given, '-?[0-9](\.[0-9]+)?[eE]\+[0-9]{2,}')
            then owner || ' is a rounded number'
    end;

create or replace temp macro no_id(owner, given, id) as
    case
        when given is null then 'no ' || owner
        when id is null and regexp_full_match(given, '-?[0-9]+\.0+') then owner || ' has decimals'
        else coalesce(odd_id(owner, given), if(id is null, owner || ' is no integer', null))
    end;
