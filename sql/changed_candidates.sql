-- grain: one row; the number of items that the model knows and that are candidates now and were not then, or the reverse
with before as (
    select
        c.item_id,
        c.category,
        is_available(c.is_allowed, c.is_hidden, c.available_from, c.available_until, r.created_at) as is_candidate
    from earlier.catalogue as c
    cross join earlier.run_info as r
    where c.is_scored
),

now as (
    select
        s.item_id,
        r.category,
        is_available(
            coalesce(r.is_allowed, not $has_filters),
            coalesce(r.is_hidden, false),
            r.available_from,
            r.available_until,
            cast($at as timestamptz)
        ) as is_candidate
    from known_items as s
    left join rules as r on s.item_id = r.item_id
    where s.is_scored
),

differences as (
    (from before except from now)
    union all
    (from now except from before)
)

select count(*) as n_changed from differences
