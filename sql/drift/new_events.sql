-- grain: one row per event that no accepted night has had
-- is_backfill: more than $backfill_days days older than the newest event that an accepted night had; never if null
create or replace temp table new_events as
with newest as (
    select max(timestamp) as newest_at from events where is_accepted
)

select
    e.user_id,
    e.item_id,
    coalesce(epoch(n.newest_at - e.timestamp) / 86400 > $backfill_days, false) as is_backfill
from events as e
cross join newest as n
where not e.is_accepted
