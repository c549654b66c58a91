-- takes the people of `leaving` out of the ledger, whose n_read then counts what is left
update event_files
set n_read = n_read - gone.n
from (
    select file_id, count(*) as n
    from (
        select file_id from event_rows where cast(user_id as varchar) in (from leaving)
        union all
        select file_id from leaving_rejected where is_theirs
    )
    group by file_id
) as gone
where event_files.file_id = gone.file_id;

delete from event_rows where cast(user_id as varchar) in (from leaving);

delete from rejected_events where rowid in (select place from leaving_rejected where is_theirs);

update rejected_events set raw = null where rowid in (select place from leaving_rejected where not is_theirs);
