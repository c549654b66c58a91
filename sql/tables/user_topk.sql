-- grain: one row per user and rank
select user_id, cast(rank as integer) as rank, item_id, score, source from lists where rank <= $k;

-- The list of each user at run_info.created_at; exactly run_info.k rows a user, where the catalogue allows
-- user_id: The user's id, as in the events
-- rank: Rank in the list, from 1
-- item_id: The recommended item
-- score: The model's score, or the number of users of a popular item
-- source: personal: scored by the model; popular: by number of users, where the history does not count or candidates run out
