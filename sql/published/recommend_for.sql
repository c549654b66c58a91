-- grain: one row per rank of the best items for a user with the given items, each of weight 1; popular items fill up
create macro recommend_for(item_ids, k := $k) as table
with __basket as (
    select distinct as_item_id(__b.item_id) as item_id
    from (select unnest(cast(item_ids as varchar[])) as item_id) as __b
),

__known as (
    select __c.item_id from catalogue as __c semi join __basket as __b using (item_id) where __c.is_scored
),

__coordinates as (
    select unnest(__e.embedding) as value, generate_subscripts(__e.embedding, 1) as place
    from (select cast(__v.embedding as float[]) as embedding, __v.item_id from item_embeddings as __v) as __e
    semi join __known as __b on __e.item_id = __b.item_id
),

__taste as (
    select cast(list(__s.value order by __s.place) as float[$factors]) as embedding
    from (select __c.place, sum(__c.value) as value from __coordinates as __c group by __c.place) as __s
),

__low_rank as (
    select __e.item_id, __r.scale * array_inner_product(__t.embedding, __e.embedding) as score
    from item_embeddings as __e
    cross join __taste as __t
    cross join run_info as __r
),

__residuals as (
    select __s.neighbor_item_id as item_id, sum(__s.weight) as score
    from item_residuals as __s
    semi join __known as __b on __s.item_id = __b.item_id
    group by __s.neighbor_item_id
),

__scored as (
    select
        __p.item_id,
        __p.rank as popularity,
        __p.score as n_users,
        case when __c.is_scored and exists (from __known) then coalesce(__l.score, 0) + coalesce(__s.score, 0) end as score
    from popular_items as __p
    semi join available_items as __a on __p.item_id = __a.item_id
    anti join __basket as __b on __p.item_id = __b.item_id
    inner join catalogue as __c on __p.item_id = __c.item_id
    left join __low_rank as __l on __p.item_id = __l.item_id
    left join __residuals as __s on __p.item_id = __s.item_id
),

__ranked as (
    select cast(row_number() over (order by __s.score desc nulls last, __s.popularity) as integer) as rank, __s.*
    from __scored as __s
)

select
    __r.rank,
    __r.item_id,
    __i.title,
    coalesce(__r.score, __r.n_users) as score,
    case when __r.score is null then 'popular' else 'personal' end as source
from __ranked as __r
left join items as __i on __r.item_id = __i.item_id
where __r.rank <= k
order by __r.rank;

-- The best items for a basket or session, without the items in it: from recommend_for(['318', '296'])
