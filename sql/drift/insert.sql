insert into drift_history by name
select $run_id as run_id, unnest($one), $is_accepted as is_accepted
