-- grain: one row per user with a history that counts
create table output.user_embeddings as
select user_id, embedding from user_vectors;
