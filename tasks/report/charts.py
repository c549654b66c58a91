"""Pictures of the report: matplotlib's SVG, in the page's own colours, with a title and a sentence inside."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from tasks.run.manifest import Measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, QUIET, MAIN, OTHER, GOOD, BAD = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
VARIABLES = {INK: "--ink", QUIET: "--quiet", MAIN: "--main", OTHER: "--other", GOOD: "--good", BAD: "--bad"}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "elsa",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "text.parse_math": False,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.6,
}
SIZE = (4.3, 2.7)  # inches: wide enough for a phone, two abreast on a desk


@dataclass(frozen=True)
class Picture:
    """An SVG to put into the page as it is, and the sentence below it."""

    svg: str
    caption: str


def models(rows: list[dict], metric: str) -> Picture:
    """Each model's mean of one metric with its interval; rows as in sql/report/metrics.sql, this run's first."""
    own = [row for row in rows if f"{row['metric']}@{row['k']}" == metric]

    def draw(axes: "Axes") -> None:
        for place, row in enumerate(own):
            colour = MAIN if place == 0 else OTHER
            axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2.5, solid_capstyle="round")
            axes.plot(row["value"], place, "o", color=colour, markersize=7)
            axes.annotate(
                f"{row['value']:.4f}", (row["value"], place), (0, 7), textcoords="offset points", ha="center"
            )
        axes.set_yticks(range(len(own)), [row["model"].replace("_", " ") for row in own], color=INK)
        axes.set_ylim(len(own) - 0.5, -0.7)
        axes.spines.left.set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(left=min(0, *(row["low"] for row in own)))

    words = ", ".join(f"{row['model']} {row['value']:.4f}" for row in own)
    return _picture(
        metric.replace("@", "-"), f"{metric} of each model", f"{metric}, mean and 95 % interval: {words}.", draw
    )


def nights(rows: list[dict], metric: str) -> Picture:
    """The metric night by night; rows as in sql/report/history.sql with the status of each run."""
    places = range(len(rows))
    values = [row["value"] for row in rows]

    def draw(axes: "Axes") -> None:
        axes.fill_between(
            places, [row["low"] for row in rows], [row["high"] for row in rows], color=MAIN, alpha=0.15, linewidth=0
        )
        axes.plot(places, values, color=MAIN, linewidth=1.2, label="the run's model")
        axes.plot(places, [row["popularity"] for row in rows], color=OTHER, linestyle="--", label="popularity")
        for kind, colour, mark in (("published", MAIN, "o"), ("rejected", BAD, "X"), ("stopped", OTHER, "s")):
            own = [place for place in places if _ending(rows[place]["status"]) == kind]
            if own:
                axes.plot(own, [values[place] for place in own], mark, color=colour, markersize=6, label=kind)
        shown = sorted({0, len(rows) // 2, len(rows) - 1})
        axes.set_xticks(shown, [f"{rows[place]['run_id'][4:6]}-{rows[place]['run_id'][6:8]}" for place in shown])
        axes.set_ylim(bottom=0)
        axes.legend(ncols=2, loc="lower left")

    words = f"{metric} over {len(rows)} nights, from {values[0]:.4f} to {values[-1]:.4f}, with its 95 % interval."
    return _picture("nights", f"{metric}, night by night", words, draw)


def _ending(status: str) -> str:
    return status if status in ("published", "rejected") else "stopped"


def training(history: list[dict], best_epoch: int) -> list[Picture]:
    """Loss and validation nDCG by epoch, each where it was measured."""
    pictures = []
    for name, key, title in (
        ("loss", "loss", "Training loss"),
        ("validation", "ndcg", "nDCG of the validation users"),
    ):
        points = [(entry["epoch"], entry[key]) for entry in history if entry[key] is not None]
        if len(points) > 1:
            words = (
                f"{title} in epochs {points[0][0]} to {points[-1][0]}: from {points[0][1]:.4f} to {points[-1][1]:.4f}"
            )
            words += f"; epoch {best_epoch} was kept." if key == "ndcg" else "."
            pictures.append(_picture(name, title, words, _curve(points, best_epoch if key == "ndcg" else None)))
    return pictures


def _curve(points: list[tuple[int, float]], marked: int | None) -> "Callable[[Axes], None]":
    def draw(axes: "Axes") -> None:
        axes.plot(*zip(*points, strict=True), "o-", color=MAIN, markersize=3.5)
        if marked in dict(points):
            axes.plot(marked, dict(points)[marked], "o", color=GOOD, markersize=9)
        axes.locator_params(axis="x", integer=True)
        axes.set_xlabel("epoch")

    return draw


def drift(rows: list[dict]) -> Picture:
    """Where this run's value stands in its band; rows with metric, value, low, high."""
    inside = {row["metric"]: row["low"] <= row["value"] <= row["high"] for row in rows}

    def draw(axes: "Axes") -> None:
        axes.axvspan(-1, 1, color=GOOD, alpha=0.15, linewidth=0)
        axes.axvline(0, color=QUIET, linewidth=0.6)
        for place, row in enumerate(rows):
            half = (row["high"] - row["low"]) / 2 or 1
            where = max(-2, min(2, (row["value"] - (row["low"] + row["high"]) / 2) / half))
            mark, colour = ("o", MAIN) if inside[row["metric"]] else ("X", BAD)
            axes.plot(where, place, mark, color=colour, markersize=8)
        axes.set_yticks(range(len(rows)), [row["metric"].replace("_", " ") for row in rows], color=INK)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(-2.2, 2.2)
        axes.set_xticks([-1, 1], ["lowest", "highest expected"])

    outside = [metric for metric, is_inside in inside.items() if not is_inside]
    words = f"Outside their bands: {', '.join(outside)}." if outside else "Every metric stands within its band."
    return _picture("drift", "New events in their bands", words, draw)


def coverage(rows: list[dict]) -> Picture:
    """rows as in sql/report/coverage.sql."""

    def draw(axes: "Axes") -> None:
        ranks, shares = [row["rank"] for row in rows], [100 * row["share"] for row in rows]
        axes.fill_between(ranks, shares, color=MAIN, alpha=0.15, linewidth=0)
        axes.plot(ranks, shares, color=MAIN)
        axes.margins(x=0)
        axes.set(xlabel="length of the lists", ylim=(0, None))
        axes.yaxis.set_major_formatter("{x:g} %")

    words = (
        f"{rows[0]['share']:.1%} of the catalogue is somebody's first item, "
        f"and {rows[-1]['share']:.1%} stands in a list of {rows[-1]['rank']}."
    )
    return _picture("coverage", "Share of the catalogue in somebody's list", words, draw)


def popularity(rows: list[dict]) -> Picture:
    """rows as in sql/report/popularity.sql."""

    def draw(axes: "Axes") -> None:
        items = [0, *(100 * row["share_of_items"] for row in rows)]
        lists, histories = ([0, *(100 * row[key] for row in rows)] for key in ("of_lists", "of_histories"))
        axes.plot(items, lists, color=MAIN, label="places in lists")
        axes.plot(items, histories, color=OTHER, linestyle="--", label="histories")
        axes.plot([0, 100], [0, 100], color=QUIET, linewidth=0.6)
        axes.set(xlabel="share of the catalogue, most popular first", xlim=(0, 100), ylim=(0, 102))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g} %")
        axes.legend(loc="lower right")

    tenth = min(rows, key=lambda row: abs(row["share_of_items"] - 0.1))
    words = (
        f"The most popular {tenth['share_of_items']:.0%} of the catalogue have {tenth['of_histories']:.0%} of the "
        f"histories and {tenth['of_lists']:.0%} of the places in the lists."
    )
    return _picture("popularity", "How much goes to what is popular", words, draw)


def scores(rows: list[dict]) -> Picture:
    """rows as in sql/report/scores.sql."""

    def draw(axes: "Axes") -> None:
        axes.bar(
            [row["score"] for row in rows],
            [row["n"] for row in rows],
            rows[0]["width"] * 0.9,
            align="edge",
            color=MAIN,
        )
        axes.set_xlabel("score")
        axes.yaxis.set_major_formatter("{x:,.0f}")

    n = sum(row["n"] for row in rows)
    least, most = rows[0]["score"], rows[-1]["score"] + rows[-1]["width"]
    words = f"{n:,} places of personal lists have scores from {least:.3f} to {most:.3f}."
    return _picture("scores", "Scores of the personal lists", words, draw)


def stages(measured: dict[str, Measured]) -> Picture:
    """Seconds of each stage, in the order of the night."""
    seconds = {name: values.seconds for name, values in measured.items()}

    def draw(axes: "Axes") -> None:
        bars = axes.barh(list(seconds), list(seconds.values()), color=MAIN, height=0.6)
        axes.bar_label(bars, [f"{value:,.1f} s" for value in seconds.values()], padding=4, color=INK)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.spines[:].set_visible(False)
        axes.set_xticks([])
        axes.margins(x=0.2)

    longest = max(seconds, key=lambda name: seconds[name])
    words = f"{sum(seconds.values()):,.0f} s in all, {seconds[longest]:,.0f} s of them in {longest}."
    return _picture("stages", "Seconds of each stage", words, draw)


def _picture(name: str, title: str, words: str, draw: "Callable[[Axes], None]") -> Picture:
    """Draws on one pair of axes. The SVG's ids are prefixed with the name, for many stand in one page."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE), io.StringIO() as written:
        figure = Figure(SIZE, layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title, color=INK, pad=10)
        draw(axes)
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
        svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    opening = (
        f'<svg viewBox="0 0 {SIZE[0] * 72:g} {SIZE[1] * 72:g}" role="img" '
        f'aria-labelledby="{name}-title {name}-words" xmlns:xlink="http://www.w3.org/1999/xlink">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-words">{escape(words)}</desc>'
    )
    return Picture(opening + svg[svg.index(">") + 1 :], words)
