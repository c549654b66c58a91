-- grain: one row: the midnight (UTC) when the hidden days begin, $days before that of the newest event; null without times
select date_trunc('day', max(timestamp)) - to_days(cast($days as integer)) from warehouse.events
