-- grain: one row per user and rank
create table output.user_topk as
select user_id, cast(rank as integer) as rank, item_id, score, source from lists where rank <= $k;
