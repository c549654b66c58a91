-- the ledger of source files; grain of event_files: one row per version of a file
-- n_read: its rows; those that are not in rejected_events are in event_rows
-- replaces: the accepted version of the same path, kept until this one is accepted
-- is_checked: the expectations about the events held with it among them
-- is_valid: true once it is accepted; false if it was rejected, which keeps it, but leaves it out; null until either
create sequence if not exists event_file_ids;

create table if not exists event_files (
    file_id integer primary key default nextval('event_file_ids'),
    path varchar not null,
    n_bytes bigint not null,
    digest varchar not null,
    n_read bigint not null,
    run_id varchar not null,
    replaces integer,
    is_checked boolean not null default false,
    is_valid boolean
);

-- grain: one row per file that counts: not rejected, and not replaced by one that is not rejected
create view if not exists active_files as
select *
from event_files
where is_valid is distinct from false
    and file_id not in (
        select replaces from event_files where replaces is not null and is_valid is distinct from false
    );

-- grain: one row per row that cannot be used; row_number counts from 1 behind the header (a malformed row has that of
-- its line); reasons are separated by '; '; raw is the whole row
create table if not exists rejected_events (
    file_id integer not null,
    row_number bigint not null,
    reasons varchar not null,
    raw varchar
);
