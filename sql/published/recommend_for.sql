-- grain: one row per rank of the best items for someone who has the given ones, each counting 1; popular ones fill up
create macro output.recommend_for(item_ids, k := $k) as table
with basket as (
    select distinct as_item_id(b.item_id) as item_id
    from (select unnest(cast(item_ids as varchar[])) as item_id) as b
),

known as (
    select c.item_id from catalogue as c semi join basket as b on c.item_id = b.item_id where c.is_scored
),

coordinates as (
    select unnest(cast(e.embedding as float[])) as value, generate_subscripts(cast(e.embedding as float[]), 1) as place
    from item_embeddings as e
    semi join known as b on e.item_id = b.item_id
),

taste as (
    select cast(list(s.value order by s.place) as float[$factors]) as embedding
    from (select c.place, sum(c.value) as value from coordinates as c group by c.place) as s
),

low_rank as (
    select e.item_id, r.scale * array_inner_product(t.embedding, e.embedding) as score
    from item_embeddings as e
    cross join taste as t
    cross join run_info as r
),

residuals as (
    select s.neighbor_item_id as item_id, sum(s.weight) as score
    from item_residuals as s
    semi join known as b on s.item_id = b.item_id
    group by s.neighbor_item_id
),

scored as (
    select
        p.item_id,
        p.rank as popularity,
        p.score as n_users,
        case when c.is_scored and exists (select 1 from known) then coalesce(l.score, 0) + coalesce(s.score, 0) end as score
    from popular_items as p
    semi join available_items as a on p.item_id = a.item_id
    anti join basket as b on p.item_id = b.item_id
    inner join catalogue as c on p.item_id = c.item_id
    left join low_rank as l on p.item_id = l.item_id
    left join residuals as s on p.item_id = s.item_id
),

best as (
    select s.* from scored as s order by s.score desc nulls last, s.popularity limit k
)

select
    cast(row_number() over (order by b.score desc nulls last, b.popularity) as integer) as rank,
    b.item_id,
    i.title,
    coalesce(b.score, b.n_users) as score,
    case when b.score is null then 'popular' else 'personal' end as source
from best as b
left join items as i on b.item_id = i.item_id
order by rank;
