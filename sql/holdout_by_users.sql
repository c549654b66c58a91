-- grain: one row per (user_id, item_id)
-- split, position: the same every night for one user and one salt; position lies evenly from 0 to 1
-- known_weight: what models are shown of the pair; is_trained_on: whether the evaluation model learns from the user
-- is_target: among what counts for a held-out user, the last in time; times that are equal or absent are drawn by hash
create or replace temp table holdout as
with users as (
    select
        user_id,
        md5_number_lower(concat($salt, ':', user_id)) / 18446744073709551616.0 as position
    from all_interactions
    group by user_id
),

splits as (
    select
        user_id,
        position,
        case
            when position < $test_share then 'test'
            when position < $test_share + $validation_share then 'validation'
            else 'train'
        end as split
    from users
),

held_out as (
    select
        i.user_id,
        i.item_id,
        count(*) over (partition by i.user_id) as n_items,
        row_number() over (
            partition by i.user_id
            order by i.first_at, md5(concat($salt, ':', i.user_id, ':', i.item_id)), i.item_id
        ) as nth
    from all_interactions as i
    inner join splits as s on i.user_id = s.user_id
    where i.weight > 0 and s.split != 'train'
)

select
    i.user_id,
    i.item_id,
    i.weight,
    coalesce(
        h.n_items >= 2 and h.nth > h.n_items - least(h.n_items - 1, greatest(1, round(h.n_items * $target_share))),
        false
    ) as is_target,
    cast(if(is_target, 0, i.weight) as float) as known_weight,
    s.split = 'train' as is_trained_on,
    s.split,
    s.position
from all_interactions as i
inner join splits as s on i.user_id = s.user_id
left join held_out as h on i.user_id = h.user_id and i.item_id = h.item_id
