-- grain: one row per metric and cut-off, one column for this run's model and for what the gate compares it with: mean and 95 % interval
with shown as (
    select
        metric || '@' || k as metric,
        metric as name,
        k,
        model,
        printf(if(metric = 'novelty', '%.2f  (%.2f to %.2f)', '%.4f  (%.4f to %.4f)'), value, low, high) as mean
    from read_parquet($metrics, hive_partitioning = false)
)

select
    metric,
    any_value(mean) filter (where model = $this_run) as "this run",
    coalesce(any_value(mean) filter (where model = 'popularity'), '–') as popularity,
    coalesce(any_value(mean) filter (where model = 'champion'), '–') as champion
from shown
group by metric, name, k
order by k desc, list_position(['ndcg', 'recall', 'hit_rate', 'coverage', 'novelty', 'popularity'], name)
