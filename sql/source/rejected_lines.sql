-- grain: one row per line that was no row to DuckDB when the file was read last; it lists such a line once per mistake
-- $above is put in: lines that a copy of the file leaves out above
select line + $above as line, 'malformed: ' || string_agg(distinct lower(cast(error_type as varchar)), ', ') as reason,
    trim(any_value(csv_line), e'\r\n') as raw
from reject_errors
where scan_id = (select max(scan_id) from reject_errors)
group by all
