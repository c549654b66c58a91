-- grain: one row per row of the ingested files; ids have the type that the first files gave them
create table if not exists events as
select user_id, item_id, timestamp, value, event_type, cast(null as integer) as file_id
from incoming
limit 0
