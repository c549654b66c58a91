create macro is_available(is_allowed, is_hidden, available_from, available_until, moment) as
    is_allowed
    and not is_hidden
    and coalesce(moment >= available_from, true)
    and coalesce(moment < available_until, true);

-- Whether an item may be recommended at a moment, by its row of catalogue: is_available(is_allowed, is_hidden, available_from, available_until, now())
