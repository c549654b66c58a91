-- grain: one row per pair of items with a weight in the residual of ELSA, or in EASE
select item_id, neighbor_item_id, weight from residuals;

-- The residual of the model: sparse weights added to the low-rank part; for EASE all weights, up to recommendations.ease_weights_up_to items
-- item_id: An item of a history
-- neighbor_item_id: The item whose score it is added to
-- weight: What is added, times the weight of item_id in the history
