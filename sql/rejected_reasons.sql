-- grain: one row per reason, of all runs or of one; a row of a file can have several
select reason, count(*) as n_rows
from (
    select unnest(string_split(reasons, '; ')) as reason
    from rejected_events
    where $run_id is null or file_id in (select file_id from event_files where run_id = $run_id)
)
group by reason
order by n_rows desc, reason
