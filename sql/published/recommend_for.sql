-- grain: one row per rank of the best items for someone who has the given ones, each counting 1; popular ones fill up
create macro output.recommend_for(item_ids, k := $k) as table
with basket as (
    select distinct as_item_id(b.item_id) as item_id
    from (select unnest(cast(item_ids as varchar[])) as item_id) as b
),

coordinates as (
    select unnest(cast(e.embedding as float[])) as value, generate_subscripts(cast(e.embedding as float[]), 1) as place
    from item_embeddings as e
    semi join basket as b on e.item_id = b.item_id
),

taste as (
    select cast(list(s.value order by s.place) as float[$factors]) as embedding
    from (select c.place, sum(c.value) as value from coordinates as c group by c.place) as s
),

residuals as (
    select s.neighbor_item_id as item_id, sum(s.weight) as score
    from item_residuals as s
    semi join basket as b on s.item_id = b.item_id
    group by s.neighbor_item_id
),

scored as (
    select
        p.item_id,
        p.rank as popularity,
        p.score as n_users,
        case
            when c.is_scored and exists (select 1 from basket as b semi join catalogue as k on b.item_id = k.item_id and k.is_scored)
                then r.scale * coalesce(array_inner_product(t.embedding, e.embedding), 0) + coalesce(s.score, 0)
        end as score
    from popular_items as p
    semi join available_items as a on p.item_id = a.item_id
    anti join basket as b on p.item_id = b.item_id
    inner join catalogue as c on p.item_id = c.item_id
    cross join run_info as r
    cross join taste as t
    left join item_embeddings as e on p.item_id = e.item_id
    left join residuals as s on p.item_id = s.item_id
),

ranked as (
    select cast(row_number() over (order by s.score desc nulls last, s.popularity) as integer) as rank, s.*
    from scored as s
)

select
    r.rank,
    r.item_id,
    i.title,
    coalesce(r.score, r.n_users) as score,
    case when r.score is null then 'popular' else 'personal' end as source
from ranked as r
left join items as i on r.item_id = i.item_id
where r.rank <= k
order by r.rank;
