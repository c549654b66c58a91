-- grain: one row per user and rank, lists and spares together: computed ones, and those that stay as they were
create temp view lists as
with earlier_lists as (
    select user_id, rank, item_id, score, source from earlier.user_topk
    union all
    select user_id, rank, item_id, score, source from earlier.user_spares
),

kept as (
    select e.* from earlier_lists as e semi join reused as r on e.user_id = r.user_id
)

select user_id, rank, item_id, score, source from computed_lists
union all
select user_id, rank, item_id, score, source from kept
order by user_id, rank;
