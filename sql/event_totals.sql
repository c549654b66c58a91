-- grain: one row
select
    cast(coalesce(sum(n_rows), 0) as bigint) as n_events,
    count(*) as n_files,
    coalesce(string_agg(digest, ' ' order by digest), '') as digests
from event_files
