-- grain: one row per line of a JSON file that is no object
select line, 'malformed: no JSON object' as reason, json as raw from $objects where not is_object and trim(json) != ''
