-- grain: one row: how many users were there before the window and have new items in it, by what they are for
select
    count(distinct user_id) filter (where split = 'validation'),
    count(distinct user_id) filter (where split = 'test')
from holdout
where is_target
