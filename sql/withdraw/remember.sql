insert into withdrawn_files
select split_part(digest, ':', 1), path, now() from event_files where path = $path
