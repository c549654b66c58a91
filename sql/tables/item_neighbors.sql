-- grain: one row per item and rank
create table output.item_neighbors as
select item_id, cast(rank as integer) as rank, neighbor_item_id, score from neighbors;
