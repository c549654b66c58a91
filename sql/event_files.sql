-- grain: one row per ingested file; is_valid: the night that read it found all expectations to hold
create sequence if not exists event_file_ids;

create table if not exists event_files (
    file_id integer primary key default nextval('event_file_ids'),
    path varchar unique not null,
    digest varchar not null,
    n_rows bigint not null,
    is_valid boolean not null default false
);
