-- grain: one row: the first and the last time of what can be used of the file being read, and now
select min(timestamp), max(timestamp), now() at time zone 'UTC' from incoming where reasons = ''
