create macro as_user_id(given) as
    case
        when cast(try_cast(cast(given as varchar) as $user_id_type) as varchar) = cast(given as varchar)
            then try_cast(cast(given as varchar) as $user_id_type)
    end;

-- A number or text as a user_id of these tables; null where it cannot be one
