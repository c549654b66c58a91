-- grain: one row per user with a history that counts: computed vectors, and those that stay as they were
create temp view user_vectors as
with kept as (
    select e.* from earlier.user_embeddings as e semi join reused as r on e.user_id = r.user_id
)

select user_id, embedding from computed_vectors
union all
select user_id, embedding from kept
order by user_id;
