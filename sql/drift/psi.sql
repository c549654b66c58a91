-- grain: one row; the population stability index of the new events' categories beside those of the nights in the window,
-- Σ (p − q) ln(p / q) over the categories' shares, each at least $smallest_share; null without earlier nights
with nights as (
    select distinct run_id
    from drift_history
    where is_accepted and run_id != $run_id
    order by run_id desc
    limit $window
),

shares as (
    select
        category,
        greatest($smallest_share, coalesce(sum(n_events) filter (where run_id = $run_id), 0)
            / sum(sum(n_events) filter (where run_id = $run_id)) over ()) as p,
        greatest($smallest_share, coalesce(sum(n_events) filter (where run_id in (from nights)), 0)
            / sum(sum(n_events) filter (where run_id in (from nights))) over ()) as q
    from drift_categories
    where run_id = $run_id or run_id in (from nights)
    group by category
)

select if(exists (from drift_categories where run_id in (from nights)), sum((p - q) * ln(p / q)), null) as psi
from shares
