-- grain: one row; a stage of the funnel from events to what counts
select
    count(*) as n_pairs,
    count(*) filter (where weight > 0) as n_counting,
    count(distinct user_id) as n_users,
    count(distinct item_id) filter (where weight > 0) as n_items
from interactions;
