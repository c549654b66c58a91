-- grain: one row per category of the items in the new events without a backfill; $category is put in: a column of the metadata
insert into drift_categories
select $run_id, coalesce(cast(i.$category as varchar), 'unknown') as category, count(*) as n_events
from new_events as e
left join items as i on e.item_id = i.item_id
where not e.is_backfill
group by all
