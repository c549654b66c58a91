-- grain: one row per check of the gate
create table output.gate_checks as
select $run_id as run_id, * from read_parquet($gate_checks)
order by name, metric;
