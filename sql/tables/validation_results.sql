-- grain: one row per expectation about the events, and per drift metric of the new events
select cast($run_id as varchar) as run_id, rule, severity, passed, observed
from validation
order by rule;

-- The expectations about the events, and whether they were met
-- run_id: The run
-- rule: The expectation
-- severity: blocking: the run stops if it is not met; warning: it goes on
-- passed: Whether it was met
-- observed: What was found
