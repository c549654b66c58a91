-- grain: one row; the rows that a run has read, and those of them that it has quarantined
select cast(coalesce(sum(f.n_read), 0) as bigint) as n_read, cast(coalesce(sum(r.n_rejected), 0) as bigint) as n_rejected
from active_files as f
left join (select file_id, count(*) as n_rejected from rejected_events group by file_id) as r on f.file_id = r.file_id
where f.run_id = $run_id
