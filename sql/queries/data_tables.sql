-- grain: one row per table that says nothing of the run that made it
select table_name
from duckdb_tables()
where table_name not in ('run_info', 'run_metrics', 'gate_checks', 'validation_results', 'drift', 'run_stages')
order by table_name
