-- no item is its own neighbour
select item_id from item_neighbors where item_id = neighbor_item_id
