-- what stands in a file that was accepted before, byte for byte, is not new, however its rows are read now
update events set is_accepted = true
where not is_accepted
    and file_id in (
        select f.file_id
        from event_files as f
        inner join event_files as earlier on f.replaces = earlier.file_id
        where split_part(f.digest, ':', 1) = split_part(earlier.digest, ':', 1)
    )
