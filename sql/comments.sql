-- what the published file says of itself; a table that is written as Parquet is a view, and its comment goes there

comment on macro table recommend is 'The user''s list, of what may be shown at this moment: from recommend(''42'', k := 20)';
comment on macro table "similar" is 'The item''s neighbours, of what may be shown at this moment: from similar(''318'')';
comment on macro table popular is 'The items with the most users, of what may be shown at this moment: from popular(k := 10)';
comment on macro table recommend_for is 'The best items for a basket or session, without the items in it: from recommend_for([''318'', ''296''])';
comment on macro table explain is 'The items of the user''s history that make the item''s score, the strongest first; their shares add up to it: from explain(''42'', ''318'')';
comment on macro table score_pairs is 'Each row of a table or view with columns user_id and item_id, with its score: from score_pairs(''candidates'')';
comment on macro score is 'The model''s score of an item for a user, seen or not; null where either is unknown: select score(''42'', ''318'')';
comment on macro as_user_id is 'A number or text as a user_id of these tables; null where it cannot be one';
comment on macro as_item_id is 'A number or text as an item_id of these tables; null where it cannot be one';

comment on view available_items is 'The items that may be shown at this moment';
comment on column available_items.item_id is 'The item''s id, as in the events';

comment on view user_topk_now is 'Each user''s list at this moment: what is not available any more is gone, and spare items have moved up';
comment on column user_topk_now.user_id is 'The user''s id, as in the events';
comment on column user_topk_now.rank is 'Place in the list, from 1';
comment on column user_topk_now.item_id is 'The recommended item';
comment on column user_topk_now.score is 'The model''s score, or the number of users of a popular item';
comment on column user_topk_now.source is 'personal, or popular where the model has nothing to say';

comment on table user_topk is 'Each user''s list as it was made; exactly run_info.k rows a user, where the catalogue allows';
comment on column user_topk.user_id is 'The user''s id, as in the events';
comment on column user_topk.rank is 'Place in the list, from 1';
comment on column user_topk.item_id is 'The recommended item';
comment on column user_topk.score is 'The model''s score, or the number of users of a popular item';
comment on column user_topk.source is 'personal, or popular where the model has nothing to say';

comment on table user_spares is 'What stands behind each list and moves up in user_topk_now; empty where no item can become unavailable';
comment on column user_spares.user_id is 'The user''s id, as in the events';
comment on column user_spares.rank is 'Place, from run_info.k + 1';
comment on column user_spares.item_id is 'The item';
comment on column user_spares.score is 'The model''s score, or the number of users of a popular item';
comment on column user_spares.source is 'personal, or popular where the model has nothing to say';

comment on table item_neighbors is 'The items most like an item, as a model sees it that knows nothing else of a user';
comment on column item_neighbors.item_id is 'The item whose neighbours these are';
comment on column item_neighbors.rank is 'Place among its neighbours, from 1';
comment on column item_neighbors.neighbor_item_id is 'The neighbour';
comment on column item_neighbors.score is 'The neighbour''s score for a user who has only the item';

comment on table popular_items is 'The catalogue: every item that counts for somebody, by its number of users';
comment on column popular_items.rank is 'Place, from 1';
comment on column popular_items.item_id is 'The item';
comment on column popular_items.score is 'Number of users for whom it counts';

comment on table catalogue is 'What the rules and the model say of each item of the catalogue';
comment on column catalogue.item_id is 'The item';
comment on column catalogue.is_scored is 'Whether this file can score it: training saw it, and its weights are here';
comment on column catalogue.n_neighbors is 'Rows it has in item_neighbors';
comment on column catalogue.category is 'Its category, where source.items.category names one';
comment on column catalogue.is_allowed is 'Whether it satisfies all of recommendations.filters';
comment on column catalogue.is_hidden is 'Whether the metadata hides it';
comment on column catalogue.available_from is 'Not shown before this moment';
comment on column catalogue.available_until is 'Not shown from this moment on';

comment on table user_items is 'The history that each list was made from: every item of the catalogue that the user ever saw';
comment on column user_items.user_id is 'The user''s id, as in the events';
comment on column user_items.item_id is 'The item';
comment on column user_items.weight is 'How much it counts; 0: merely seen';

comment on table items is 'Every item that occurs in an event, with the source''s metadata';
comment on column items.item_id is 'The item''s id, as in the events';
comment on column items.title is 'What people call it; null without metadata';

comment on table item_embeddings is 'Vectors of the items that training saw, of length 1: the low-rank part of the model; empty for EASE';
comment on column item_embeddings.item_id is 'The item';
comment on column item_embeddings.embedding is 'For array_cosine_similarity and array_inner_product';

comment on table user_embeddings is 'Vectors of the users with a history that counts: the weighted sum of their items'' vectors; empty for EASE';
comment on column user_embeddings.user_id is 'The user';
comment on column user_embeddings.embedding is 'Its inner product with an unseen item''s vector, times run_info.scale, is the low-rank part of the score';

comment on table item_residuals is 'The sparse part of the model: weights that the vectors leave over; for EASE all weights, where they are published';
comment on column item_residuals.item_id is 'An item of a history';
comment on column item_residuals.neighbor_item_id is 'The item whose score it adds to';
comment on column item_residuals.weight is 'What it adds, times the weight of the item in the history';

comment on table run_info is 'The run that made this file: one row';
comment on column run_info.run_id is 'Its id, the time of its start in UTC';
comment on column run_info.created_at is 'The moment for which the lists were made';
comment on column run_info.data_watermark is 'Time of the last event, in UTC';
comment on column run_info.n_events is 'Events that were learnt from';
comment on column run_info.n_users is 'Users in the events';
comment on column run_info.n_items is 'Items of the catalogue';
comment on column run_info.policy_type is 'The algorithm: elsa or ease';
comment on column run_info.scale is 'Factor of the low-rank part of the score; 0 for EASE';
comment on column run_info.model_run_id is 'The night that trained and judged the model: this run, or, for a refresh, an earlier one';
comment on column run_info.model_digest is 'SHA-256 of the model''s weights';
comment on column run_info.n_refreshes is 'Refreshes since the tables were written as a whole; each put rows of its users behind the others in this file';
comment on column run_info.k is 'Items asked for in each list';
comment on column run_info.neighbors is 'Neighbours asked for of each item';
comment on column run_info.n_items_without_neighbors is 'Items of the catalogue that have none';
comment on column run_info.config is 'The configuration of the run';
comment on column run_info.versions is 'Versions of the libraries it ran with';

comment on table run_metrics is 'What was measured on the test users, with 95 % intervals: all nights until this one, published or not';
comment on column run_metrics.run_id is 'The run';
comment on column run_metrics.model is 'Tonight''s elsa or ease, popularity, the published champion, and what else could be run';
comment on column run_metrics.metric is 'ndcg, recall, hit_rate, coverage, novelty or popularity';
comment on column run_metrics.k is 'Length of the lists that were judged';
comment on column run_metrics.value is 'Mean over the test users';
comment on column run_metrics.low is 'Lower end of its 95 % interval';
comment on column run_metrics.high is 'Upper end of its 95 % interval';
comment on column run_metrics.n_users is 'Test users';

comment on table gate_checks is 'What each night''s model had to satisfy to be published: all nights until this one, published or not';
comment on column gate_checks.run_id is 'The run';
comment on column gate_checks.name is 'The condition';
comment on column gate_checks.metric is 'What it looks at';
comment on column gate_checks.segment is 'The users or targets that it looks at; all for all of them';
comment on column gate_checks.n_users is 'Test users that it looks at';
comment on column gate_checks.value is 'What was measured';
comment on column gate_checks.low is 'Lower end of its interval';
comment on column gate_checks.high is 'Upper end of its interval, null where it has none; those beside the published model hold all at once';
comment on column gate_checks.threshold is 'What it was compared with';
comment on column gate_checks.passed is 'Whether it held';
comment on column gate_checks.verdict is 'The same in words';

comment on table validation_results is 'What the events had to satisfy';
comment on column validation_results.run_id is 'The run';
comment on column validation_results.rule is 'The expectation';
comment on column validation_results.severity is 'blocking: the night would have stopped';
comment on column validation_results.passed is 'Whether it held';
comment on column validation_results.observed is 'What was seen';

comment on table drift is 'The new events of every night beside those of the nights before; nights without new events have no rows';
comment on column drift.run_id is 'The run';
comment on column drift.metric is 'What is watched: events, active_users, gini, …';
comment on column drift.observed is 'Its value that night';
comment on column drift.expected is 'Median of the accepted nights before; null with too few nights to judge by (older versions wrote it from the second night on)';
comment on column drift.low is 'Lower end of the band; null with too few nights to judge by';
comment on column drift.high is 'Upper end of the band; null with too few nights to judge by';
comment on column drift.n_nights is 'Accepted nights in the window';
comment on column drift.passed is 'Whether it lay inside, or there were too few nights to tell';
comment on column drift.is_accepted is 'Whether the new events were accepted';

comment on table run_stages is 'What each stage of each night took; the last stages of this one come after this table';
comment on column run_stages.run_id is 'The run';
comment on column run_stages.stage is 'The stage';
comment on column run_stages.finished_at is 'When it was done, UTC';
comment on column run_stages.seconds is 'Seconds since the stage before';
comment on column run_stages.rows is 'Rows that it had to do with: events, interactions, users or items';
comment on column run_stages.peak_bytes is 'Most memory that the process held meanwhile; null where the system does not tell';
