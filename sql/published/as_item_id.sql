create macro as_item_id(given) as
    case
        when cast(try_cast(cast(given as varchar) as $item_id_type) as varchar) = cast(given as varchar)
            then try_cast(cast(given as varchar) as $item_id_type)
    end;

-- A number or text as an item_id of these tables; null where it cannot be one
