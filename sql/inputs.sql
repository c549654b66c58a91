-- all that the selects of sql/tables/ read besides the ledger's drift history, without rows, for a description of the
-- tables. Ids are bigint here; vectors have one factor
create table warehouse.events (timestamp timestamp);
create table warehouse.items (item_id bigint, title varchar);
create table matrix_items (item_id bigint, n_users bigint);
create table interactions (user_id bigint, item_id bigint, weight float);
create table rules (
    item_id bigint,
    category varchar,
    is_hidden boolean,
    available_from timestamptz,
    available_until timestamptz,
    is_allowed boolean
);
create table lists (user_id bigint, rank bigint, item_id bigint, score float, source varchar);
create table user_vectors (user_id bigint, embedding float[1]);
create table histories as from interactions;
create table neighbors (item_id bigint, rank bigint, neighbor_item_id bigint, score float);
create table item_vectors (item_id bigint, embedding float[1]);
create table residuals (item_id bigint, neighbor_item_id bigint, weight float);
create table scored_items (item_id bigint, is_scored boolean);
create table metrics (
    run_id varchar, model varchar, metric varchar, k bigint, value double, low double, high double, n_users bigint
);
create table gate_results (
    run_id varchar,
    name varchar,
    metric varchar,
    segment varchar,
    n_users bigint,
    value double,
    low double,
    high double,
    threshold double,
    passed boolean,
    verdict varchar
);
create table validation (rule varchar, severity varchar, passed boolean, observed varchar);
create table stages (
    run_id varchar, stage varchar, finished_at timestamp, seconds double, rows bigint, peak_bytes bigint
);
