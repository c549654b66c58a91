insert into event_rows
select $file_id, event_id, user_id, item_id, timestamp, value, event_type
from incoming
where reasons = ''
