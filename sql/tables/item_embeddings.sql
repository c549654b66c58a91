-- grain: one row per item of the catalogue that training saw
create table output.item_embeddings as
select item_id, embedding from item_vectors;
