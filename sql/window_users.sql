-- grain: one row: users to validate and to test with, and the share of what counts that lies before the window
select
    count(distinct user_id) filter (where is_target and split = 'validation'),
    count(distinct user_id) filter (where is_target and split = 'test'),
    coalesce(count(*) filter (where known_weight > 0) / count(*) filter (where weight > 0), 0)
from holdout
