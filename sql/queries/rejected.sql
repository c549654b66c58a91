select f.path as file, r.row_number as row, r.reasons, r.raw
from rejected_events as r
inner join event_files as f on r.file_id = f.file_id
order by f.path, r.row_number
limit $n
