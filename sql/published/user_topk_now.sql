-- grain: one row per user and rank
create view user_topk_now as
with lists as (
    from user_topk
    union all
    from user_spares
),

available as (
    select
        l.user_id,
        cast(row_number() over (partition by l.user_id order by l.rank) as integer) as rank,
        l.item_id,
        l.score,
        l.source
    from lists as l
    semi join available_items as a on l.item_id = a.item_id
)

select a.*
from available as a
cross join run_info as r
where a.rank <= r.k;

-- The list of each user at this moment: items that are not available are left out, and backup items move up
-- user_id: The user's id, as in the events
-- rank: Rank in the list, from 1
-- item_id: The recommended item
-- score: The model's score, or the number of users of a popular item
-- source: personal: scored by the model; popular: by number of users
