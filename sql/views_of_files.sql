-- grain: one row per table of the open file that lies beside it as Parquet
select view_name from duckdb_views() where not internal and sql like '%read_parquet(%';
