-- grain: one row per user and rank, of what may be shown at this moment; spare items move up
create view output.user_topk_now as
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
