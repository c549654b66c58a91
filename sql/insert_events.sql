insert into events
select user_id, item_id, timestamp, value, event_type, (select file_id from event_files where path = $path)
from incoming
