-- grain: one row per run and check of the gate, of every night until now
create table output.gate_checks as
select string_split(filename, '/')[-2] as run_id, * exclude (filename)
from read_parquet($gate_checks, filename = true, union_by_name = true, hive_partitioning = false)
order by run_id, name, metric, segment;
