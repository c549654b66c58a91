-- what DuckDB could not take for a row of the CSV file; it lists such a row once per scan and per mistake in it
insert into rejected_events
select $file_id, line, 'malformed: ' || string_agg(distinct lower(cast(error_type as varchar)), ', '), any_value(csv_line)
from reject_errors
where scan_id = (select max(scan_id) from reject_errors)
group by line
