-- the ledger of source files; grain of event_files: one row per ingested file
-- n_read: its rows; those that are not in rejected_events are in event_rows
-- is_valid: whether the events held what is expected of them with this file among them; null until that was checked
create sequence if not exists event_file_ids;

create table if not exists event_files (
    file_id integer primary key default nextval('event_file_ids'),
    path varchar unique not null,
    n_bytes bigint not null,
    digest varchar not null,
    n_read bigint not null,
    run_id varchar not null,
    is_valid boolean
);

-- grain: one row per row that cannot be used; row_number counts from 1 behind the header (a malformed row has that of
-- its line); reasons are separated by '; '; raw is the whole row
create table if not exists rejected_events (
    file_id integer not null,
    row_number bigint not null,
    reasons varchar not null,
    raw varchar
);
