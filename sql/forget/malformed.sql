-- a line that is no row, of the file $file_id, is counted, but not kept where it may name a person who was forgotten
update rejected_events
set raw = null
where file_id = $file_id
    and rowid in (
        select place
        from (
            select rowid as place, unnest(parts_of(raw)) as part
            from rejected_events
            where file_id = $file_id and reasons like 'malformed: %'
        )
        where may_be_forgotten(part)
    )
