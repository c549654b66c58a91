-- grain: one row per quarantined row that names a person of `leaving`: as its user, which $tidied makes an id of, or,
-- where it has none, anywhere: $words in small letters, or one of the spellings $others
create or replace temp table leaving_rejected as
with given as (
    select
        rowid as place,
        file_id,
        lower(raw) as line,
        case when json_valid(raw) and left(raw ->> $user, 1) not in ('[', '{') then raw ->> $user end as given
    from rejected_events
),

told as (
    select *, $tidied as user_id from given
)

select
    place,
    file_id,
    given is not null as is_theirs
from told
where case
    when given is null
        then list_has_any(regexp_extract_all(line, '[\pL\pN_]+'), $words)
            or len(list_filter($others, lambda other: contains(line, other))) > 0
    else given in (from leaving)
        or coalesce(user_id, given) in (from leaving)
        or ($is_integer and canonical(given) in (from leaving))
end
