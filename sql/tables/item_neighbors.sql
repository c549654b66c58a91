-- grain: one row per item and rank
select item_id, cast(rank as integer) as rank, neighbor_item_id, score from neighbors;

-- The nearest items of each item: those the model scores highest for a user who has only this item
-- item_id: The item
-- rank: Rank among its neighbours, from 1
-- neighbor_item_id: The neighbour
-- score: The neighbour's score for a user who has only the item; the cosine, where the model has no residual
