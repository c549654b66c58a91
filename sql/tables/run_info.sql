-- grain: one row
select
    cast($run_id as varchar) as run_id,
    cast($created_at as timestamptz) as created_at,
    (select max(timestamp) from warehouse.events) as data_watermark,
    cast($n_events as bigint) as n_events,
    cast($n_users as bigint) as n_users,
    cast($n_items as bigint) as n_items,
    cast($policy_type as varchar) as policy_type,
    cast($scale as float) as scale,
    cast($model_run_id as varchar) as model_run_id,
    cast($model_digest as varchar) as model_digest,
    cast($n_refreshes as integer) as n_refreshes,
    cast($k as integer) as k,
    cast($neighbors as integer) as neighbors,
    (select count(*) from output.catalogue where n_neighbors = 0) as n_items_without_neighbors,
    cast($config as json) as config,
    cast($versions as json) as versions;

-- The run that made this file: one row
-- run_id: Its id, the time of its start in UTC
-- created_at: When the run began; the lists and what is available are of that moment
-- data_watermark: Time of the last event, in UTC
-- n_events: Events in the warehouse
-- n_users: Users in the events
-- n_items: Items of the catalogue
-- policy_type: The algorithm: elsa or ease
-- scale: Factor of the low-rank part of the score; 0 for EASE
-- model_run_id: The run that trained and evaluated the model: this one or, for a refresh, an earlier one
-- model_digest: SHA-256 of the model's weights
-- n_refreshes: Refreshes since all rows were computed; each appended the new rows of some users to the tables in this file
-- k: Configured length of a list
-- neighbors: Configured number of neighbours of an item
-- n_items_without_neighbors: Items of the catalogue without neighbours
-- config: The configuration of the run
-- versions: Versions of the software
