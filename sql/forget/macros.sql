-- of the table or view `forgotten` that the connection sees
create or replace temp macro digest_of_person(id) as
    sha256((select any_value(salt) from forgotten) || cast(id as varchar));

create or replace temp macro is_forgotten(id) as
    digest_of_person(id) in (select digest from forgotten);

-- what may be an id in a line that is no row: words, what stands between separators, quoted texts of JSON and of CSV
create or replace temp macro parts_of_line(line) as
    list_distinct(list_concat(
        regexp_extract_all(line, '[^,;:|"\s\[\]{}]+'),
        list_transform(regexp_split_to_array(line, '[,;|\t]'), lambda part: trim(part, ' "')),
        list_transform(
            regexp_extract_all(line, '"(?:[^"\\]|\\.)*"'),
            lambda part: case when json_valid(part) then part ->> '$' end
        ),
        list_transform(regexp_extract_all(line, '"((?:[^"]|"")*)"', 1), lambda part: replace(part, '""', '"'))
    ));
