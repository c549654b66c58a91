-- one round of the minimum supports: pairs of a too rare item or of a user with too few items stop counting
update interactions set weight = 0
where weight > 0 and (
    item_id in (select item_id from interactions where weight > 0 group by item_id having count(*) < $min_users)
    or user_id in (select user_id from interactions where weight > 0 group by user_id having count(*) < $min_items)
);
