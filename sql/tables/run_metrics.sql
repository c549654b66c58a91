-- grain: one row per run, model, metric and cut-off
from metrics
order by run_id, model, metric, k;

-- Metrics on the test users, with 95 % intervals; all nights up to this one, published or rejected
-- run_id: The run
-- model: elsa or ease of this run; popularity; champion: the published model; elsa_low_rank: without the residual; elsa_capped: with max_per_category
-- metric: ndcg, recall, hit_rate, coverage, novelty or popularity
-- k: Length of the evaluated lists
-- value: Mean over the test users
-- low: Lower end of its 95 % interval
-- high: Upper end of its 95 % interval
-- n_users: Test users
