-- grain: one row: when the last days begin, that is what was after it is hidden; null without any times
select max(timestamp) - to_microseconds(cast($days * 86400000000 as bigint)) from warehouse.events
