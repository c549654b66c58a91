-- grain: one row per pair with a weight in ELSA's sparse part S, or among all weights of EASE
create table output.item_residuals as
select item_id, neighbor_item_id, weight from residuals;
