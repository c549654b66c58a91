-- no event occurs twice: one row per id, or, without ids, per all columns
select event_id, user_id, item_id, timestamp, value, event_type, count(*) as times
from {batch}
where event_id is null
group by all
having times > 1

union all by name

select event_id, count(*) as times
from {batch}
where event_id is not null
group by event_id
having times > 1
