-- grain: one row per user and rank behind the list
create table output.user_spares as
select user_id, cast(rank as integer) as rank, item_id, score, source from lists where rank > $k;
