-- grain: one row per version of a file that was withdrawn; content: the digest of its bytes, which are not read again
create table if not exists withdrawn_files (
    content varchar not null,
    path varchar not null,
    withdrawn_at timestamptz not null
);
