-- grain: one row per item of the most popular ones that may be shown at this moment, to begin with
select cast(item_id as varchar) as id, cast(title as varchar) as title, n_users
from popular(k := $n)
order by rank
