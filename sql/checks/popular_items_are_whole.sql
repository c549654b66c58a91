-- popular_items has every item that a model may know, once, by descending scores, and its ranks have no gaps
with ranked as (
    select
        rank,
        item_id,
        row_number() over (order by rank) as expected_rank,
        row_number() over (partition by item_id order by rank) as occurrence,
        score > lag(score) over (order by rank) as is_above_the_one_before
    from popular_items
)

select 'row' as what, item_id from ranked
where rank <> expected_rank or occurrence > 1 or is_above_the_one_before
union all
select 'missing', item_id from catalogue
where is_scored and item_id not in (select item_id from popular_items)
