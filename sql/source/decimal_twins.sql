-- grain: at most one row: an id that is there with a decimal point and without, such as 13.0 and 13; $id is put in
select $id as id, regexp_replace($id, '\.0+$', '') as twin
from events
where regexp_full_match($id, '-?[0-9]+\.0+') and regexp_replace($id, '\.0+$', '') in (select $id from events)
limit 1
