-- grain: one row per person to be forgotten, by the id as text, as the events have it
create or replace temp table leaving as select unnest($ids) as id
