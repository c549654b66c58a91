-- grain: one row per user whose list stays: full, of personal items only, and made from the very history that they have now
create or replace temp table reused as
with history as (
    select i.user_id, i.item_id, i.weight
    from read_parquet($interactions) as i
    semi join read_parquet($items) as c on i.item_id = c.item_id
),

changed as (
    select user_id from (from history except select user_id, item_id, weight from earlier.user_items)
    union
    select user_id from (select user_id, item_id, weight from earlier.user_items except from history)
),

listed as (
    select user_id, source from earlier.user_topk
    union all
    select user_id, source from earlier.user_spares
)

select l.user_id
from listed as l
anti join changed as c on l.user_id = c.user_id
group by l.user_id
having count(*) = $n_listed and bool_and(l.source = 'personal');
