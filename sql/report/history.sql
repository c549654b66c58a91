-- grain: one row per run that was evaluated: the metric at its largest common cut-off of tonight's model and of popularity
with named as (
    select string_split(filename, '/')[-2] as run_id, * exclude (filename)
    from read_parquet($files, filename = true, union_by_name = true)
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
order by n.run_id
