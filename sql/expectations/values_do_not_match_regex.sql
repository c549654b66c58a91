-- no value of $column has a match of $regex in it; ^ and $ anchor it
select $column, count(*) as n_rows
from {batch}
where regexp_matches(cast($column as varchar), $regex)
group by all
