-- grain: one row per run and metric of its new events
select * from warehouse.drift_history order by run_id, metric;

-- The new events of each night, compared with those of the nights before; nights without new events have no rows
-- run_id: The run
-- metric: The metric: events, active_users, gini, …
-- observed: Its value
-- expected: Median of the accepted nights before; null with fewer nights than drift.min_nights (older versions: from the second night on)
-- low: Lower end of the band; null with fewer nights than drift.min_nights
-- high: Upper end of the band; null with fewer nights than drift.min_nights
-- n_nights: Accepted nights in the window
-- passed: Whether it lay within the band, or there were too few nights
-- is_accepted: Whether the new events were accepted
