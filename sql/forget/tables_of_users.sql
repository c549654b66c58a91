-- grain: one row per table of the file `published` with rows of users
select table_name
from duckdb_columns()
where database_name = 'published'
    and column_name = 'user_id'
    and table_name in (select table_name from duckdb_tables() where database_name = 'published')
order by table_name
