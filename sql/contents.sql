-- grain: one row per table, view and macro of `output`, by the word that drops it
select 'table' as kind, table_name as name from duckdb_tables() where database_name = 'output'
union all
select 'view', view_name from duckdb_views() where database_name = 'output' and not internal
union all
select distinct if(function_type = 'macro', 'macro', 'macro table'), function_name
from duckdb_functions()
where database_name = 'output' and not internal;
