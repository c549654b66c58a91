-- ids have the type that the first files gave them. The columns are spelled out because DuckDB 2.0.0, after a
-- `create table as select … limit 0`, does not see 200,000 rows that the same transaction adds

-- grain: one row per row of the ingested files that can be used, repeats among them
create table if not exists event_rows (
    file_id integer not null,
    event_id varchar,
    user_id $user_id_type not null,
    item_id $item_id_type not null,
    timestamp timestamp,
    value double,
    event_type varchar
);

-- grain: one row per event; see events.sql
create table if not exists events (
    event_id varchar,
    user_id $user_id_type,
    item_id $item_id_type,
    timestamp timestamp,
    value double,
    event_type varchar,
    file_id integer,
    n_deliveries bigint,
    is_accepted boolean
);
