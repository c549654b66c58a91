-- grain: one row per run and finished stage
select
    run_id,
    stage,
    finished_at,
    seconds,
    rows,
    peak_bytes
from stages
order by run_id, finished_at;

-- Time and memory of each stage of each run; without the stages of this run that end after this table is written
-- run_id: The run
-- stage: The stage
-- finished_at: When it ended, in UTC
-- seconds: Seconds since the stage before it
-- rows: Number of events, interactions, users or items that it processed
-- peak_bytes: Highest memory of the process meanwhile, sampled; null where the system does not report it
