-- grain: one row per pair with a weight in ELSA's sparse part S; empty without one
create table output.item_residuals as
select item_id, neighbor_item_id, weight from residuals order by item_id, neighbor_item_id;
