-- grain: one row per metric of a run's new events; what an interrupted night had recorded is there, too
select metric, observed, expected, low, high, n_nights, passed
from drift_history
where run_id = $run_id
order by metric
