-- grain: one row per (user_id, item_id) of now; `interactions` are those of before the window
-- known_weight: what the pair counted before the window, for everyone: what evaluation models learn from and are shown
-- is_target: the pair counts, had no event before the window and one in it, and something of the user is known
-- split: a user with targets is always on the same side; position lies evenly from 0 to 1
create or replace temp table holdout as
with known_users as (
    select distinct user_id from interactions where weight > 0
),

pairs as (
    select
        n.user_id,
        n.item_id,
        n.weight,
        if(n.item_id in (select item_id from all_interactions where weight > 0), coalesce(i.weight, 0), 0) as known_weight,
        n.weight > 0
        and i.user_id is null
        and n.first_at >= $window_start
        and n.user_id in (select user_id from known_users) as is_target,
        md5_number_lower(concat($salt, ':', n.user_id)) / 18446744073709551616.0 as position
    from all_interactions as n
    left join interactions as i on n.user_id = i.user_id and n.item_id = i.item_id
),

users as (
    select user_id, bool_or(is_target) as has_targets from pairs group by user_id
)

select
    p.* replace (coalesce(is_target, false) as is_target, cast(known_weight as float) as known_weight),
    true as is_trained_on,
    case
        when not coalesce(u.has_targets, false) then 'train'
        when p.position < $test_share / ($test_share + $validation_share) then 'test'
        else 'validation'
    end as split
from pairs as p
inner join users as u on p.user_id = u.user_id
