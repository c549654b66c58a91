-- grain: one row per expectation about the events
create table output.validation_results as
select $run_id as run_id, * from read_parquet($validation)
order by rule;
