-- grain: one row per run and check of the gate
from gate_results
order by run_id, name, metric, segment;

-- What the model of each night had to satisfy; all nights up to this one, published or rejected
-- run_id: The run
-- name: Name of the check
-- metric: The metric it compares
-- segment: Segment of users or items; all: everyone
-- n_users: Test users in the segment
-- value: The measured value
-- low: Lower end of the interval
-- high: Upper end of the interval; null without one. Intervals of comparisons with the published model are simultaneous
-- threshold: The limit
-- passed: Whether the check passed
-- verdict: The same in words
