-- grain: one row per line or element of a JSON file that is no object
select line, 'malformed: no JSON object' as reason, json as raw from $objects where not coalesce(is_object, false) and trim(json) != ''
