-- $people is the table forgotten_people, $options source.ids as it is now
create or replace temp view forgotten as
select digest, canonical_digest, salt, options = $options as is_same from $people;

create or replace temp macro canonical(id) as
    case
        when regexp_full_match(trim(id), '-?[0-9]+(\.0+)?')
            then coalesce(cast(try_cast(regexp_replace(trim(id), '\.0+$', '') as hugeint) as varchar), trim(id))
        else lower(trim(id))
    end;

create or replace temp macro digest_of_person(id) as sha256((select any_value(salt) from forgotten) || id);

-- an id as the events have it; where ids were told apart in another way then, one that may be the same
create or replace temp macro is_forgotten(id) as
    digest_of_person(cast(id as varchar)) in (select digest from forgotten)
    or digest_of_person(canonical(cast(id as varchar))) in (select canonical_digest from forgotten where not is_same);

-- text that was no id
create or replace temp macro may_be_forgotten(given) as
    digest_of_person(given) in (select digest from forgotten)
    or digest_of_person(canonical(given)) in (select canonical_digest from forgotten);

-- what may be an id in such a text: all of it, words, what stands between separators, quoted texts of JSON and of CSV
create or replace temp macro parts_of(line) as
    list_distinct(list_concat(
        [line],
        regexp_extract_all(line, '[\pL\pN_]+'),
        regexp_split_to_array(line, '[^\pL\pN_.@+-]+'),
        regexp_extract_all(line, '[^,;:|"\s\[\]{}]+'),
        list_transform(regexp_split_to_array(line, '[,;|\t]'), lambda part: trim(part, ' "')),
        list_transform(
            regexp_extract_all(line, '"(?:[^"\\]|\\.)*"'),
            lambda part: case when json_valid(part) then part ->> '$' end
        ),
        list_transform(regexp_extract_all(line, '"((?:[^"]|"")*)"', 1), lambda part: replace(part, '""', '"'))
    ));
