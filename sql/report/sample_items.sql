-- grain: one row per item to look at: those at five places of the catalogue, by popularity
with placed as (
    select p.item_id, row_number() over (order by p.rank) as place, count(*) over () as n
    from popular_items as p
    semi join item_neighbors as i on p.item_id = i.item_id
)

select cast(item_id as varchar) as id
from placed
where place in (select greatest(1, round(n * share)) from (select unnest([0.0, 0.1, 0.25, 0.45, 0.7]) as share))
order by place
