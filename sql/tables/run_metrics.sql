-- grain: one row per model, metric and cut-off
create table output.run_metrics as
select $run_id as run_id, * from read_parquet($metrics)
order by model, metric, k;
