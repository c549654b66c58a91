-- every user of the events has a list or a history: without a list are only those who have seen the whole catalogue
with users as (
    select user_id from user_topk
    union
    select user_id from user_items
),

counted as (
    select count(*) as found from users
)

select c.found, r.n_users as expected
from counted as c
cross join run_info as r
where c.found != r.n_users
