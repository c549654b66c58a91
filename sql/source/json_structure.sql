-- grain: one row; the keys of all $objects and the types of their values, as JSON
select cast(json_group_structure(cast(json as json)) as varchar) from $objects where is_object
