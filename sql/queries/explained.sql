select
    score($user_id, $item_id),
    (select title from items where item_id = as_item_id($item_id)),
    (select count(*) from explain($user_id, $item_id))
