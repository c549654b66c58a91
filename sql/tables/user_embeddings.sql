-- grain: one row per user with a history that counts
select user_id, embedding from user_vectors;

-- Vectors of the users with a history that counts: the weighted sums of their items' vectors; empty for EASE
-- user_id: The user
-- embedding: The vector; its inner product with the vector of an unseen item, times run_info.scale, is the low-rank part of the score
