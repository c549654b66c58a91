-- the tables that the published macros read, with drawn content: 200,000 users × 100 and 100,000 items
create table user_topk as
select
    u.i as user_id,
    cast(r.i + 1 as integer) as rank,
    (u.i * 31 + r.i * 997) % 100_000 as item_id,
    cast(1 - r.i / 100 as float) as score,
    'personal' as source
from range(200_000) as u(i), range(100) as r(i)
order by user_id, rank;

create table user_spares as from user_topk limit 0;

create table item_neighbors as
select
    u.i as item_id,
    cast(r.i + 1 as integer) as rank,
    (u.i * 17 + r.i * 991 + 1) % 100_000 as neighbor_item_id,
    cast(1 - r.i / 100 as float) as score
from range(100_000) as u(i), range(100) as r(i)
order by item_id, rank;

create table item_residuals as
select item_id, neighbor_item_id, score as weight from item_neighbors order by all;

create table user_items as
select u.i as user_id, (u.i * 13 + r.i * 1009) % 100_000 as item_id, cast(1 as float) as weight
from range(200_000) as u(i), range(60) as r(i)
order by user_id, item_id;

create table items as select i as item_id, 'Title ' || i as title from range(100_000) as t(i);

create table popular_items as
select cast(i + 1 as integer) as rank, (i * 7) % 100_000 as item_id, cast(100_000 - i as float) as score
from range(100_000) as t(i);

create table catalogue as
select
    item_id,
    true as is_scored,
    100 as n_neighbors,
    cast(null as varchar) as category,
    true as is_allowed,
    false as is_hidden,
    cast(null as timestamptz) as available_from,
    cast(null as timestamptz) as available_until
from items;

create table run_info as select cast(0.7 as float) as scale, 100 as k;
