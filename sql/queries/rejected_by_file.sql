with reasons as (
    select file_id, unnest(string_split(reasons, '; ')) as reason
    from rejected_events
)

select f.path as file, r.reason, count(*) as rows, any_value(f.n_read) as of
from reasons as r
inner join event_files as f on r.file_id = f.file_id
group by f.path, r.reason
order by f.path, rows desc, r.reason
