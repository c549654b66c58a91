-- grain: one row per metric: its band, the window's median ± $width robust standard deviations (1.4826 times the median
-- distance from the median), each taken to be at least $least_relative of the median, and at least $least for $shares
with nights as (
    select distinct run_id
    from drift_history
    where is_accepted and run_id != $run_id
    order by run_id desc
    limit $window
),

learnt as (
    select
        metric,
        median(observed) as expected,
        1.4826 * mad(observed) as deviation,
        cast(count(*) as integer) as n_nights
    from drift_history
    where run_id in (from nights) and is_accepted and observed is not null
    group by metric
),

wide as (
    select
        *,
        $width * greatest(deviation, $least_relative * abs(expected), if(metric in $shares, $least, 0)) as half
    from learnt
)

select metric, expected, expected - half as low, expected + half as high, n_nights
from wide
