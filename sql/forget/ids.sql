-- grain: one row per given text, in its order: what ingestion makes of it, $tidied
select given, $tidied as id
from (select unnest($given) as given, generate_subscripts($given, 1) as place)
order by place
