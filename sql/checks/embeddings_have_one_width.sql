-- vectors of users and items have one width, the configured one
with widths as (
    select 'item_embeddings' as name, len(cast(embedding as float[])) as width from item_embeddings
    union
    select 'user_embeddings', len(cast(embedding as float[])) from user_embeddings
),

asked as (
    select
        coalesce(
            config ->> '$.policy_configs.embedding_policy.factors',
            config ->> '$.policy_configs.scoring_policy.factors'
        ) as width
    from run_info
)

select w.name, w.width as found, a.width as expected
from widths as w
cross join asked as a
where w.width is null or w.width != coalesce(cast(a.width as integer), w.width)
union all
select 'both', min(width), max(width) from widths having count(distinct width) > 1
