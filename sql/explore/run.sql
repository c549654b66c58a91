-- grain: one row
select run_id from run_info
