-- grain: one row per element of the array in the file $path, or per value in whatever layout; line counts them
select row_number() over () as line, cast(json as varchar) as json, json_type(json) = 'OBJECT' as is_object
from read_json_objects($path, format = 'auto', hive_partitioning = false)
