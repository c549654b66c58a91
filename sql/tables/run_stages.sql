-- grain: one row per finished stage of a run; all nights until this one, whose own last stages come after this table
-- seconds: since the stage before; peak_bytes: the most memory that the process held meanwhile, sampled
create table output.run_stages as
with manifests as (
    select *
    from read_json(
        $manifests,
        format = 'unstructured',
        hive_partitioning = false,
        maximum_object_size = 100000000,
        columns = {
            run_id: 'VARCHAR',
            measured: 'MAP(VARCHAR, STRUCT(finished_at TIMESTAMPTZ, seconds DOUBLE, rows BIGINT, peak_bytes BIGINT))'
        }
    )
),

entries as (
    select run_id, unnest(map_entries(measured)) as entry from manifests
)

select
    run_id,
    entry.key as stage,
    entry.value.finished_at at time zone 'UTC' as finished_at,
    entry.value.seconds as seconds,
    entry.value.rows as rows,
    entry.value.peak_bytes as peak_bytes
from entries
order by run_id, finished_at;
