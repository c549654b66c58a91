insert into withdrawn_files
select split_part(digest, ':', 1), path, now() from event_files where file_id in $file_ids
