-- grain: one row per person who was forgotten
-- digest: of a salt that only this warehouse has, and the id; canonical_digest: of the id without case, spaces around it
-- and decimals of zeros; options: source.ids as it was, by which ids are told apart
-- is_done: nothing that is kept beside the events has rows of the person any more
create table if not exists forgotten_people (
    digest varchar primary key,
    canonical_digest varchar not null,
    salt varchar not null,
    options varchar not null,
    forgotten_at timestamptz not null,
    is_done boolean not null default false
);
