insert into rejected_events
select $file_id, row_number, reasons, raw
from incoming
where reasons != ''
