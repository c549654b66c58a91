-- grain: one row per rank of the item's neighbours
create macro "similar"(of_item, k := $neighbors) as table
with __available as (
    select
        cast(row_number() over (order by __n.rank) as integer) as rank,
        __n.neighbor_item_id as item_id,
        __n.score
    from item_neighbors as __n
    semi join available_items as __a on __n.neighbor_item_id = __a.item_id
    where __n.item_id = as_item_id(of_item)
)

select __a.rank, __a.item_id, __i.title, __a.score
from __available as __a
left join items as __i on __a.item_id = __i.item_id
where __a.rank <= k
order by __a.rank;

-- The item's neighbours, of the items that are available at this moment: from similar('318')
