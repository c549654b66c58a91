-- a given number or text as an id of the tables; null where no id of theirs is written so
create macro output.as_item_id(given) as
    case
        when cast(try_cast(cast(given as varchar) as $item_id_type) as varchar) = cast(given as varchar)
            then try_cast(cast(given as varchar) as $item_id_type)
    end;
