-- grain: one row per row of the ingested files that can be used, repeats among them
-- ids have the type that the first files gave them. The columns are spelled out because DuckDB 2.0.0, after a
-- `create table as select … limit 0`, does not see 200,000 rows that the same transaction adds
create table if not exists event_rows (
    file_id integer not null,
    event_id varchar,
    user_id $user_id_type not null,
    item_id $item_id_type not null,
    timestamp timestamp,
    value double,
    event_type varchar
)
