-- grain: one row per (user_id, item_id) of now; `interactions` are those of before the window
-- known_weight: what the pair counted before the window: what evaluation models learn from and are shown
-- is_trained_on: whether the evaluation model learns from the user
-- is_target: the pair counts, had no event before the window and one in it, and something of the user is known
-- split: a user with targets is always on the same side; position lies evenly from 0 to 1
create or replace temp table holdout as
with items as (
    select distinct item_id from all_interactions where weight > 0
),

pairs as (
    select
        n.user_id,
        n.item_id,
        n.weight,
        n.weight > 0 and i.user_id is null and n.first_at >= $window_start as is_new,
        cast(if(n.item_id in (from items), coalesce(i.weight, 0), 0) as float) as known_weight
    from all_interactions as n
    left join interactions as i on n.user_id = i.user_id and n.item_id = i.item_id
),

users as (
    select
        user_id,
        bool_or(known_weight > 0) as is_known,
        bool_or(coalesce(is_new, false)) as has_new,
        md5_number_lower(concat($salt, ':', user_id)) / 18446744073709551616.0 as position
    from pairs
    group by user_id
)

select
    p.user_id,
    p.item_id,
    p.weight,
    p.known_weight,
    u.is_known as is_trained_on,
    u.is_known and coalesce(p.is_new, false) as is_target,
    case
        when not (u.is_known and u.has_new) then 'train'
        when u.position < $test_share / ($test_share + $validation_share) then 'test'
        else 'validation'
    end as split,
    u.position
from pairs as p
inner join users as u on p.user_id = u.user_id
