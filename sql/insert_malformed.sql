-- $malformed is put in: the lines of the file that are no rows
insert into rejected_events
select $file_id, line, reason, raw from ($malformed)
