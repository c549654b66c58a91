-- grain: one row per rank of the item's neighbours, of what may be shown at this moment
create macro output.similar(of_item, k := $neighbors) as table
with available as (
    select
        cast(row_number() over (order by n.rank) as integer) as rank,
        n.neighbor_item_id as item_id,
        n.score
    from item_neighbors as n
    semi join available_items as a on n.neighbor_item_id = a.item_id
    where n.item_id = as_item_id(of_item)
)

select a.rank, a.item_id, i.title, a.score
from available as a
left join items as i on a.item_id = i.item_id
where a.rank <= k
order by a.rank;
