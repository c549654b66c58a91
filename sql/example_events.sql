-- grain: one row per event against a rule; $condition is put in by the rule
select e.user_id, e.item_id, e.timestamp, e.value, e.event_type, f.path as file
from events as e
left join event_files as f on e.file_id = f.file_id
where $condition
limit $n
