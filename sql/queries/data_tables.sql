-- grain: one row per table, whether it lies in the file or beside it, that says nothing of the run that made it
with tables as (
    select table_name from duckdb_tables()
    union all
    select view_name from duckdb_views() where not internal and sql like '%read_parquet(%'
)

select table_name
from tables
where table_name not in ('run_info', 'run_metrics', 'gate_checks', 'validation_results', 'drift', 'run_stages')
order by table_name
