-- grain: one row per item with metadata; $expressions are put in
select
    item_id,
    $category as category,
    $is_hidden as is_hidden,
    $available_from as available_from,
    $available_until as available_until,
    $is_allowed as is_allowed
from warehouse.items
order by item_id
