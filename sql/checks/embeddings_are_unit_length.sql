-- item vectors have length 1
select item_id, sqrt(list_inner_product(embedding, embedding)) as length
from (select item_id, cast(embedding as float[]) as embedding from item_embeddings)
where abs(length - 1) > 1e-4
