-- no list holds more items of a category than recommendations.max_per_category
with listed as (
    from user_topk
    union all
    from user_spares
)

select l.user_id, c.category, count(*) as n_items
from listed as l
inner join catalogue as c on l.item_id = c.item_id
cross join run_info as r
where c.category is not null
group by l.user_id, c.category
having n_items > any_value(cast(r.config ->> '$.recommendations.max_per_category' as integer))
