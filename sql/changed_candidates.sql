-- grain: one row; the items that the model knows and that may be recommended now and not then, or the reverse
with before as (
    select
        c.item_id,
        c.category,
        c.is_allowed
        and not c.is_hidden
        and coalesce(r.created_at >= c.available_from, true)
        and coalesce(r.created_at < c.available_until, true) as is_available
    from earlier.catalogue as c
    cross join earlier.run_info as r
    where c.is_scored
),

now as (
    select
        s.item_id,
        r.category,
        coalesce(r.is_allowed, not $has_filters)
        and not coalesce(r.is_hidden, false)
        and coalesce(cast($at as timestamptz) >= r.available_from, true)
        and coalesce(cast($at as timestamptz) < r.available_until, true) as is_available
    from known_items as s
    left join read_parquet($rules, hive_partitioning = false) as r on s.item_id = r.item_id
    where s.is_scored
),

differences as (
    (from before except from now)
    union all
    (from now except from before)
)

select count(*) as n_changed from differences
