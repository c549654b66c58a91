-- grain: one row per run, model, metric and cut-off, of every night until now
create table output.run_metrics as
select string_split(filename, '/')[-2] as run_id, * exclude (filename)
from read_parquet($metrics, filename = true, union_by_name = true, hive_partitioning = false)
order by run_id, model, metric, k;
