-- grain: one row per run: the named metric of that night's own model, with its interval, and of popularity
with named as (
    select string_split(filename, '/')[-2] as run_id, * exclude (filename)
    from read_parquet($files, filename = true, union_by_name = true, hive_partitioning = false)
    where metric = $metric and k = $k
)

select
    n.run_id,
    any_value(n.value) filter (where n.model = o.own) as value,
    any_value(n.low) filter (where n.model = o.own) as low,
    any_value(n.high) filter (where n.model = o.own) as high,
    any_value(n.value) filter (where n.model = 'popularity') as popularity
from named as n
inner join (select unnest($runs) as run_id, unnest($models) as own) as o on n.run_id = o.run_id
group by n.run_id
having value is not null
order by n.run_id
