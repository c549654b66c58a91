-- grain: one row; the users with more items that count than the cap allows
select count(*) as n_users
from (select user_id from interactions where weight > 0 group by user_id having count(*) > $most)
