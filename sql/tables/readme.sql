-- grain: one row per query, function, table and view of this file: its parameters or columns, and its meaning
with macros as (
    select if(function_type = 'macro', 'function', 'query') as kind, function_name as name, parameters as has, comment
    from duckdb_functions()
    where database_name = 'output' and not internal
),

relations as (
    select 'table' as kind, table_name as name, comment
    from duckdb_tables()
    where database_name = 'output' and table_name != 'readme'
    union all
    select 'view', view_name, comment from duckdb_views() where database_name = 'output' and not internal
),

columns as (
    select table_name as name, list(column_name order by column_index) as has
    from duckdb_columns()
    where database_name = 'output' and not internal
    group by table_name
)

select kind, name, array_to_string(has, ', ') as has, comment as meaning from macros
union all
select r.kind, r.name, array_to_string(c.has, ', '), r.comment
from relations as r
inner join columns as c on r.name = c.name
order by list_position(['query', 'function', 'table', 'view'], kind), name;

-- What is in this file: start here
-- kind: query: select from it like a table; function: call it in a select; table; view
-- name: Its name
-- has: Parameters of a query or function, columns of a table or view
-- meaning: Its meaning
