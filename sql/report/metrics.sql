-- grain: one row per metric, cut-off and model, the longest lists and the metrics people look at first
select metric, k, model, value, low, high, n_users
from read_parquet($metrics, hive_partitioning = false)
order by
    k desc,
    list_position(['ndcg', 'recall', 'hit_rate', 'coverage', 'novelty', 'popularity'], metric),
    list_position([$own, 'champion', 'popularity'], model) nulls last,
    model
