-- grain: one row per reason, of all files that count or of what one run has read; a row of a file can have several
select reason, count(*) as n_rows
from (
    select unnest(string_split(reasons, '; ')) as reason
    from rejected_events
    where file_id in (select file_id from active_files where $run_id is null or run_id = $run_id)
)
group by reason
order by n_rows desc, reason
