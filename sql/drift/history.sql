-- grain of drift_history: one row per run and metric; a run without new events has none
-- expected, low, high: learnt from the n_nights accepted nights before; null with fewer than drift.min_nights
create table if not exists drift_history (
    run_id varchar not null,
    metric varchar not null,
    observed double,
    expected double,
    low double,
    high double,
    n_nights integer not null,
    passed boolean not null,
    is_accepted boolean not null
);

-- grain: one row per run and category of the items in its new events
create table if not exists drift_categories (
    run_id varchar not null,
    category varchar not null,
    n_events bigint not null
);
