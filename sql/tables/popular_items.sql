-- grain: one row per item of the catalogue
select
    cast(row_number() over (order by n_users desc, item_id) as integer) as rank,
    item_id,
    cast(n_users as float) as score
from matrix_items
order by rank;

-- Every item of the catalogue, by its number of users
-- rank: Rank, from 1
-- item_id: The item
-- score: Number of users for whom it counts
