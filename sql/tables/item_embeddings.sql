-- grain: one row per item of the catalogue that training saw
select item_id, embedding from item_vectors;

-- Vectors of length 1 of the items that training saw: the low-rank part of the model; empty for EASE
-- item_id: The item
-- embedding: The vector, for array_cosine_similarity and array_inner_product
