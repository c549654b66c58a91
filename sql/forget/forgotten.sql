-- grain: one row per person who was forgotten: a digest of the id and of a salt that only this warehouse has
-- is_done: nothing that is kept beside the events has rows of the person any more
create table if not exists forgotten (
    digest varchar primary key,
    salt varchar not null,
    forgotten_at timestamptz not null,
    is_done boolean not null default false
);
