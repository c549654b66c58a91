"""How often ordinary nights stand outside their bands: Online Retail by day, a quarter of mtg-decklists by week.

`python benchmarks/drift.py`
"""

import duckdb

from datasets import shared
from tasks.data.drift import limits
from tasks.run.database import sql
from tasks.settings.checks import DriftSettings

WIDTHS = (4.0, 6.0, 8.0)
SOURCES = {
    "Online Retail, days": (
        "select CustomerID as user_id, StockCode as item_id, date_trunc('day', InvoiceDate) as night "
        f"from '{shared('online-retail/online_retail.parquet')}' where CustomerID is not null"
    ),
    "mtg-decklists, weeks": (
        "select user_id, item_id, date_trunc('week', timestamp) as night "
        f"from '{shared('mtg-decklists/events.parquet')}' where user_id % 4 = 0"
    ),
}


def main() -> None:
    print(f"{'':<24}{'nights':>8}" + "".join(f"{f'outside at {width:g}':>16}" for width in WIDTHS))
    for name, query in SOURCES.items():
        n_nights, n_outside = count_outside(query)
        print(f"{name:<24}{n_nights:>8}" + "".join(f"{n:>16}" for n in n_outside), flush=True)


def count_outside(query: str) -> tuple[int, list[int]]:
    """How many nights are judged, and how many of them have a metric outside its band, for each width."""
    connection = duckdb.connect()
    connection.execute(f"create table all_events as {query}")
    connection.execute(
        "create view events as select *, night < getvariable('newest') as is_accepted "
        "from all_events where night <= getvariable('newest')"
    )
    connection.execute("create view new_events as select *, false as is_backfill from events where not is_accepted")
    connection.execute(sql("drift/history"))
    n_judged, outside = 0, [0] * len(WIDTHS)
    for (night,) in connection.execute("select distinct night from all_events order by night").fetchall():
        connection.execute("set variable newest = $night", {"night": night})
        observed = dict(connection.execute(sql("drift/profile")).fetchall())
        rules = [limits(DriftSettings(width=width), "newest") for width in WIDTHS]
        bands = [connection.execute(sql("drift/bands"), one).fetchall() for one in rules]
        if bands[0] and bands[0][0][-1] >= DriftSettings().min_nights:
            n_judged += 1
            for place, rows in enumerate(bands):
                outside[place] += any(not low <= observed[metric] <= high for metric, _, low, high, _ in rows)
        for metric, value in observed.items():
            connection.execute(
                "insert into drift_history values ($night, $metric, $value, null, null, null, 0, true, true)",
                {"night": f"{night:%Y-%m-%d}", "metric": metric, "value": value},
            )
    return n_judged, outside


if __name__ == "__main__":
    main()
