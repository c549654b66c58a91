-- a file's rows of people who were forgotten are not taken in, nor kept where their user $user (a JSON pointer) is no id
delete from incoming
where is_forgotten(user_id)
    or rowid in (
        select place
        from (select rowid as place, unnest(parts_of(raw ->> $user)) as part from incoming where user_id is null)
        where may_be_forgotten(part)
    )
