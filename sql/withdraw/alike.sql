-- grain: one row per version of the file $path, and per file with the same contents as one of them
select file_id, path
from event_files
where split_part(digest, ':', 1) in (select split_part(digest, ':', 1) from event_files where path = $path)
order by file_id
