-- the catalogue and run_info say how many neighbours there are
with found as (
    select item_id, count(*) as n_neighbors from item_neighbors group by item_id
)

select c.item_id, c.n_neighbors as said, coalesce(f.n_neighbors, 0) as found
from catalogue as c
left join found as f on c.item_id = f.item_id
where said != found
union all
select null, r.n_items_without_neighbors, (select count(*) from catalogue where n_neighbors = 0)
from run_info as r
where r.n_items_without_neighbors != (select count(*) from catalogue where n_neighbors = 0)
