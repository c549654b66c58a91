-- grain: one row per reason; a row of a file can have several
select reason, count(*) as n_rows
from (select unnest(string_split(reasons, '; ')) as reason from rejected_events)
group by reason
order by n_rows desc, reason
