-- an empty output table is never published, but that EASE has no embeddings, and the rules may leave no neighbours
select 'user_topk' as empty_table where not exists (from user_topk)
union all
select 'popular_items' where not exists (from popular_items)
union all
select 'item_embeddings' where not exists (from item_embeddings) and exists (from run_info where policy_type = 'elsa')
union all
select 'user_embeddings' where not exists (from user_embeddings) and exists (from run_info where policy_type = 'elsa')
union all
select 'items' where not exists (from items)
