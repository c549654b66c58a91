-- grain: one row; the rows of a file that were quarantined, and those of them that were no rows to DuckDB
select count(*) filter (where reasons like 'malformed: %') as n_malformed, count(*) as n_rejected
from rejected_events
where file_id = $file_id
