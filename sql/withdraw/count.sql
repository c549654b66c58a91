-- grain: one row; the rows of the files $file_ids that could be used, and the quarantined ones
select
    (select count(*) from event_rows where file_id in $file_ids) as n_used,
    (select count(*) from rejected_events where file_id in $file_ids) as n_rejected
