-- grain: one row, of the files that count; n_read = n_events + n_repeated + n_rejected
select e.n_events, e.n_deliveries - e.n_events as n_repeated, r.n_rejected, f.n_read, f.n_files, f.digests
from (select count(*) as n_events, cast(coalesce(sum(n_deliveries), 0) as bigint) as n_deliveries from events) as e
cross join (select count(*) as n_rejected from rejected_events semi join active_files using (file_id)) as r
cross join (
    select
        cast(coalesce(sum(n_read), 0) as bigint) as n_read,
        count(*) as n_files,
        coalesce(string_agg(digest, ' ' order by digest), '') as digests
    from active_files
) as f
