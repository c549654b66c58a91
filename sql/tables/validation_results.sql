-- grain: one row per expectation about the events, and per drift metric of the new ones
create table output.validation_results as
select $run_id as run_id, rule, severity, passed, observed from read_parquet($validation)
union all
select $run_id, 'drift of ' || metric, severity, passed, observed from read_parquet($drift)
order by rule;
