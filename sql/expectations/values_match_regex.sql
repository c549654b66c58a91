-- each value of $column has a match of $regex in it; ^ and $ anchor it, nulls are passed over
select $column, count(*) as n_rows
from {batch}
where not regexp_matches(cast($column as varchar), $regex)
group by all
