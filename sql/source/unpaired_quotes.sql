-- grain: one row per line of a CSV file that opens a quote and does not close it
select line + $above as line, 'malformed: unquoted value' as reason, raw from read_parquet($bad, hive_partitioning = false)
