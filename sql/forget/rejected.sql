-- grain: one row per quarantined row that names a person of `leaving`: as its user, or, where it is no row with a column
-- $user (a JSON pointer), anywhere, as it is or as JSON and CSV write it. Users are compared without case, spaces and
-- decimals of zeros
create or replace temp table leaving_rejected as
with users as (
    select
        rowid as place,
        file_id,
        raw,
        case when json_valid(raw) then lower(trim(regexp_replace(raw ->> $user, '\.0+$', ''))) end as user_id
    from rejected_events
)

select distinct u.place, u.file_id, u.user_id is not null as is_theirs
from users as u
cross join leaving as l
where if(
    u.user_id is null,
    list_bool_or(list_transform(
        [l.id, to_json(l.id)[2:-2], replace(l.id, '"', '""')],
        lambda written: regexp_matches(u.raw, '(^|[^\pL\pN_])' || regexp_escape(written) || '($|[^\pL\pN_])')
    )),
    u.user_id = lower(trim(l.id))
)
