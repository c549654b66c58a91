-- grain: one row per model that was judged, the best first: means at the largest cut-off
select
    model,
    round(any_value(value) filter (where metric = 'ndcg'), 4) as ndcg,
    round(any_value(value) filter (where metric = 'recall'), 4) as recall,
    round(any_value(value) filter (where metric = 'coverage'), 4) as coverage
from read_parquet($metrics, hive_partitioning = false)
where k = (select max(k) from read_parquet($metrics, hive_partitioning = false))
group by model
order by ndcg desc, model
