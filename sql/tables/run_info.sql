-- grain: one row
create table output.run_info as
select
    $run_id as run_id,
    cast($created_at as timestamptz) as created_at,
    (select max(timestamp) from warehouse.events) as data_watermark,
    cast($n_events as bigint) as n_events,
    cast($n_users as bigint) as n_users,
    cast($n_items as bigint) as n_items,
    $policy_type as policy_type,
    cast($scale as float) as scale,
    $model_run_id as model_run_id,
    $model_digest as model_digest,
    cast($n_refreshes as integer) as n_refreshes,
    cast($k as integer) as k,
    cast($neighbors as integer) as neighbors,
    (select count(*) from output.catalogue where n_neighbors = 0) as n_items_without_neighbors,
    cast($config as json) as config,
    cast($versions as json) as versions;
