-- no output table is empty; allowed: embeddings of EASE, and neighbours with neighbors_min_users, with same_category or
-- in a catalogue of one item
select 'user_topk' as empty_table where not exists (from user_topk)
union all
select 'item_neighbors'
where not exists (from item_neighbors)
    and (select count(*) from catalogue where is_scored and is_allowed and not is_hidden) > 1
    and exists (
        from run_info
        where json_extract_string(config, '$.recommendations.neighbors_min_users') = '0'
            and json_extract_string(config, '$.recommendations.same_category') = 'false'
    )
union all
select 'popular_items' where not exists (from popular_items)
union all
select 'item_embeddings' where not exists (from item_embeddings) and exists (from run_info where policy_type = 'elsa')
union all
select 'user_embeddings' where not exists (from user_embeddings) and exists (from run_info where policy_type = 'elsa')
union all
select 'items' where not exists (from items)
