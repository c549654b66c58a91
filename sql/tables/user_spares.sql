-- grain: one row per user and rank after the list
select user_id, cast(rank as integer) as rank, item_id, score, source from lists where rank > $k;

-- Backup items of each list: they move up in user_topk_now when a listed item becomes unavailable; empty without source.items.available_until
-- user_id: The user's id, as in the events
-- rank: Rank, from run_info.k + 1
-- item_id: The item
-- score: The model's score, or the number of users of a popular item
-- source: personal: scored by the model; popular: by number of users
