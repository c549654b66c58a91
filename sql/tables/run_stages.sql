-- grain: one row per finished stage of a run; all nights until this one, whose own last stages come after this table
-- seconds: since the stage before; peak_bytes: the most memory that the process held meanwhile, sampled
create table output.run_stages as
select
    run_id,
    stage,
    cast(finished_at as timestamptz) at time zone 'UTC' as finished_at,
    seconds,
    rows,
    peak_bytes
from stages
order by run_id, finished_at;
