-- grain: one row per rank of the user's list, with the $n_reasons items of the history that add most to its score
with wanted as (
    select t.rank, t.item_id, t.score, t.source, e.embedding
    from user_topk_now as t
    left join item_embeddings as e on t.item_id = e.item_id
    where t.user_id = as_user_id($user_id) and t.rank <= $k
),

history as (
    select u.item_id, u.weight, e.embedding
    from user_items as u
    left join item_embeddings as e on u.item_id = e.item_id
    where u.user_id = as_user_id($user_id) and u.weight > 0
),

shares as (
    select
        w.rank,
        h.item_id,
        h.weight
        * (r.scale * coalesce(array_inner_product(w.embedding, h.embedding), 0) + coalesce(s.weight, 0)) as share
    from wanted as w
    cross join history as h
    cross join run_info as r
    left join item_residuals as s on h.item_id = s.item_id and w.item_id = s.neighbor_item_id
    where w.source = 'personal'
),

reasons as (
    select
        s.rank,
        list(
            {'id': cast(s.item_id as varchar), 'title': cast(i.title as varchar), 'share': s.share}
            order by s.share desc, s.item_id
        )[:$n_reasons] as reasons
    from shares as s
    inner join items as i on s.item_id = i.item_id
    where s.share > 0
    group by s.rank
)

select
    w.rank, cast(w.item_id as varchar) as id, cast(i.title as varchar) as title, w.score, w.source,
    coalesce(r.reasons, []) as reasons
from wanted as w
inner join items as i on w.item_id = i.item_id
left join reasons as r on w.rank = r.rank
order by w.rank
