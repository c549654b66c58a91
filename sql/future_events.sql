-- rows that should not be there: events later than tomorrow
select * from {batch} where timestamp > now() at time zone 'UTC' + interval 1 day
