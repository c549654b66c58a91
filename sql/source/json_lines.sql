-- grain: one row per line of the file $path; an empty one has no json
-- the delimiter is a character that JSON has only in escaped form
select
    row_number() over () as line,
    json,
    coalesce(case when json_valid(json) then json_type(json) = 'OBJECT' end, false) as is_object
from read_csv(
    $path,
    auto_detect = false,
    header = false,
    delim = e'\x1f',
    quote = '',
    escape = '',
    columns = {'json': 'VARCHAR'},
    max_line_size = 16777216,
    hive_partitioning = false,
    strict_mode = false,
    store_rejects = true
)
