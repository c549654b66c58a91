-- grain: one row per expectation about the events, and per drift metric of the new ones
create table output.validation_results as
select $run_id as run_id, rule, severity, passed, observed
from read_parquet($results, hive_partitioning = false)
order by rule;
