-- grain: one row per hundredth of the catalogue, most popular items first: the share that these items and those before
-- them have of all histories, and of all places in the lists
with listed as (
    select item_id, count(*) as n from user_topk group by item_id
),

items as (
    select
        p.rank / count(*) over () as share_of_items,
        p.score,
        coalesce(l.n, 0) as n_places
    from popular_items as p
    left join listed as l on p.item_id = l.item_id
),

hundredths as (
    select ceil(100 * share_of_items) / 100 as share_of_items, sum(score) as n_users, sum(n_places) as n_places
    from items
    group by all
)

select
    share_of_items,
    sum(n_users) over (order by share_of_items) / sum(n_users) over () as of_histories,
    sum(n_places) over (order by share_of_items) / sum(n_places) over () as of_lists
from hundredths
order by share_of_items
