-- grain: one row per element of the array in the file $path, or per object in whatever layout
select cast(json as varchar) as json, json_type(json) = 'OBJECT' as is_object
from read_json_objects($path, format = 'auto', hive_partitioning = false)
