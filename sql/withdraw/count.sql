-- grain: one row; the rows of the file $path, in all its versions, that could be used, and the quarantined ones
select
    (select count(*) from event_rows semi join (from event_files where path = $path) using (file_id)) as n_used,
    (select count(*) from rejected_events semi join (from event_files where path = $path) using (file_id)) as n_rejected
