-- grain: one row per user and item of the catalogue that the user ever saw
select h.user_id, h.item_id, h.weight
from histories as h
semi join matrix_items as c on h.item_id = c.item_id
order by h.user_id, h.item_id;

-- The histories that the lists are computed from: every item of the catalogue that the user ever saw
-- user_id: The user's id, as in the events
-- item_id: The item
-- weight: Weight of the interaction; 0: seen, does not count
