-- of each user's items only the latest ones count; without times, or at the same time, those with the largest weights
update interactions set weight = 0
from (
    select user_id, item_id
    from interactions
    where weight > 0
    qualify row_number() over (partition by user_id order by last_at desc, weight desc, item_id) > $most
) as older
where interactions.user_id = older.user_id and interactions.item_id = older.item_id
