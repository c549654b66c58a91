-- grain: one row per object; its values have the types of $structure
select unnest(json_transform(json, $structure)) from $objects where is_object
