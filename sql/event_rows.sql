-- grain: one row per row of the ingested files that can be used, repeats among them
-- ids have the type that the first files gave them
create table if not exists event_rows as
select cast(null as integer) as file_id, event_id, user_id, item_id, timestamp, value, event_type
from incoming
limit 0
