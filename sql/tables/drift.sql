-- grain: one row per run and metric of its new events, all nights up to this one
create table output.drift as
select * from warehouse.drift_history order by run_id, metric;
