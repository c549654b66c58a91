-- the newest event is at most $max_age_hours old
select max(timestamp) as newest, round(epoch(now() at time zone 'UTC' - newest) / 3600, 1) as age_hours
from {batch}
having coalesce(age_hours > $max_age_hours, true)
