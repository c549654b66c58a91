-- an empty output table is never published
select 'user_topk' as empty_table where not exists (from user_topk)
union all
select 'item_neighbors' where not exists (from item_neighbors)
union all
select 'popular_items' where not exists (from popular_items)
union all
select 'item_embeddings' where not exists (from item_embeddings)
union all
select 'user_embeddings' where not exists (from user_embeddings)
union all
select 'items' where not exists (from items)
