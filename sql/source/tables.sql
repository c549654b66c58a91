-- grain: one row per table of an attached database, those of its main schema first
select schema_name, table_name
from duckdb_tables()
where database_name = $database
order by schema_name != 'main', schema_name, table_name
