"""What was found, as a table for the terminal, as RESULTS.md and as its picture; all of it from the kept figures."""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks.peers import SETTINGS
from benchmarks.rows import Figures, Row
from benchmarks.table import ROWS

PICTURE = "results.svg"
#: A peer that is ahead by less is not said to be.
NOISE = 1.01


def figures(row: Row, kept: dict) -> Figures:
    """Return the rounds of a row of the kept results."""
    return Figures(row.more_is_better, kept["rounds"], kept["others"])


def goals(row: Row, kept: dict) -> list[dict]:
    """Return each goal and how far it is reached."""
    found = []
    for goal in row.goals:
        reach = goal.reach(figures(row, kept))
        found.append({"text": goal.text, "reach": reach, "met": None if reach is None else reach >= 1})
    return found


def ahead(row: Row, kept: dict) -> list[tuple[str, float]]:
    """Return the peers that are better than procjob, and how many times."""
    found = [(name, figures(row, kept).times_better(name)) for name in row.peers]
    return sorted(
        ((name, 1 / better) for name, better in found if better and better < 1 / NOISE), key=lambda one: -one[1]
    )


def best_peer(row: Row, kept: dict) -> str | None:
    """Return the peer that comes nearest to procjob, or is furthest ahead."""
    found = {name: better for name in row.peers if (better := figures(row, kept).times_better(name))}
    return min(found, key=found.__getitem__, default=None)


def number(value: float | None) -> str:
    """Three digits of a figure."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def spread(values: list[float | None]) -> str:
    """The middle half of the rounds, or all if they are few."""
    found = sorted(value for value in values if value is not None)
    if len(found) < 2:
        return ""
    low, high = (found[0], found[-1]) if len(found) < 4 else statistics.quantiles(found, method="inclusive")[::2]
    return f"{number(low)} to {number(high)}"


def others(found: list[dict]) -> str:
    """What else the rounds found: medians of numbers, words once."""
    texts = []
    for name in dict.fromkeys(name for one in found for name in one):
        values = [one[name] for one in found if name in one]
        words = list(dict.fromkeys(value for value in values if isinstance(value, str) and value))
        if words:
            texts.append(" or ".join(words) if name == "note" else f"{name} {' or '.join(words)}")
        elif all(not isinstance(value, str) for value in values):
            texts.append(f"{name}: {number(statistics.median(values))}")
    return ", ".join(texts)


def lines(row: Row, kept: dict) -> list[tuple[str, str, str, str, str]]:
    """For each contender: name, median, spread, how many times better procjob is, and remarks."""
    known = figures(row, kept)
    found = []
    for name in row.contenders:
        if name in kept["missing"] or not (name in kept["rounds"] or name in kept["failed"]):
            continue
        better = None if name == "procjob" else known.times_better(name)
        failed = kept["failed"].get(name)
        remark = ", ".join(filter(None, [f"failed: {failed}" if failed else "", others(kept["others"].get(name, []))]))
        found.append((name, number(known.median(name)), spread(kept["rounds"].get(name, [])), number(better), remark))
    return found


# ---------------------------------------------------------------- the terminal


def verdict(goal: dict) -> str:
    if goal["reach"] is None:
        return "cannot be told"
    return "met" if goal["met"] else f"not met: {number(goal['reach'])} of it"


def text(row: Row, kept: dict) -> str:
    """One row as text."""
    head = f"{row.key}: {row.title.replace('`', '')}, {row.unit} ({'more' if row.more_is_better else 'less'} is better)"
    body = [
        f"  {name:20} {median:>10}  {around:24} {'' if better == '-' else f'procjob {better} times better':26} {remark}"
        for name, median, around, better, remark in lines(row, kept)
    ]
    tail = [f"  goal {goal['text'].replace('`', '')}: {verdict(goal)}" for goal in goals(row, kept)]
    leaders = [f"  ahead: {name}, {number(times)} times" for name, times in ahead(row, kept)]
    return "\n".join(line.rstrip() for line in [head, *body, *tail, *leaders])


# ---------------------------------------------------------------- RESULTS.md


def summary(rows: list[tuple[Row, dict]]) -> list[str]:
    table = ["| figure | goal | procjob | reached | best peer | peers ahead |", "|---|---|---|---|---|---|"]
    for row, kept in rows:
        known = figures(row, kept)
        best = best_peer(row, kept)
        reached = "; ".join(verdict(goal) for goal in goals(row, kept)) or "no goal"
        leaders = ", ".join(f"{name} {number(times)} times" for name, times in ahead(row, kept)) or "none"
        mine = f"{number(known.median('procjob'))} {row.unit}"
        peer = f"{best}: {number(known.median(best))}" if best else "-"
        wanted = "; ".join(goal.text for goal in row.goals) or "-"
        table.append(f"| [{row.title}](#{row.key}) | {wanted} | {mine} | {reached} | {peer} | {leaders} |")
    return table


def details(row: Row, kept: dict) -> list[str]:
    """The section of one row."""
    better = "more is better" if row.more_is_better else "less is better"
    found = [f"## {row.key}", "", f"{row.title[0].upper()}{row.title[1:]}. In {row.unit}, {better}.", ""]
    found += ["| | median | spread | procjob is better by | |", "|---|---|---|---|---|"]
    found += [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines(row, kept)]
    found += [""]
    found += [f"- Goal: {goal['text']}: **{verdict(goal)}**." for goal in goals(row, kept)]
    found += [f"- {name} is ahead, {number(times)} times." for name, times in ahead(row, kept)]
    if row.why:
        found += ["", row.why]
    return [*found, ""]


def page(results: dict) -> str:
    """Return RESULTS.md."""
    where = results["machine"]
    rows = [(ROWS[kept["key"]], kept) for kept in results["rows"]]
    packages = ", ".join(f"{name} {number}" for name, number in where["packages"].items())
    loads = ", ".join(map(str, where["load before"]))
    missing = sorted({package for _, kept in rows for package in kept["missing"].values()})
    found = [
        "# Results",
        "",
        "Made by `tox run -e bench`; not to be edited (the remarks stand in the rows' definitions).",
        "",
        f"{where['date'][:10]}, {where['cores']} cores of {where['processor']}, {where['memory']}, {where['system']}, "
        f"{where['python']}. {packages}. Load before: {loads}." + (" A quick run." if results["quick"] else ""),
        *(["", f"Not installed and left out: {', '.join(missing)}."] if missing else []),
        "",
        "All contenders of a row take turns, each in processes of its own, while those of the others are stopped. Medians over "
        'the rounds, and the middle half of them; "better by" is the median of the ratios within a round. 2 workers each, '
        "started and warm; one thread for numerical libraries in each. A contender is absent where it cannot do what the row asks.",
        "",
        *summary(rows),
        "",
        f"![How far each is from the goal, or from the best peer]({PICTURE})",
        "",
    ]
    for row, kept in rows:
        found += details(row, kept)
    found += ["## How each is set up", ""]
    found += [f"- {name}: {setting}." for name, setting in SETTINGS.items()]
    for name, said in results["sections"].items():
        found += ["", f"## {name}.py", "", "```text", said.rstrip(), "```"]
    return "\n".join(found) + "\n"


# ---------------------------------------------------------------- the picture


def reaches(row: Row, kept: dict) -> dict[str, float]:
    """How far each contender is: 1 is the goal that is hardest for procjob or, without a goal, the best peer."""
    known = figures(row, kept)
    found = [reach for goal in row.goals if goal.graded and (reach := goal.reach(known))]
    best = best_peer(row, kept)
    ours = min(found) if found else known.times_better(best) if best else None
    if ours is None:
        return {}
    theirs = {name: ours / better for name in row.contenders if (better := known.times_better(name))}
    return {"procjob": ours} | theirs


def picture(results: dict, file: Path) -> None:
    """Draw a group of bars for each row."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    groups = [(kept["key"], reaches(ROWS[kept["key"]], kept)) for kept in results["rows"]]
    groups = [(key, bars) for key, bars in groups if bars]
    names = list(dict.fromkeys([*SETTINGS, *(name for _, bars in groups for name in bars)]))
    colours = {name: "black" if name == "procjob" else f"C{place % 10}" for place, name in enumerate(names)}
    height = sum(len(bars) + 1.5 for _, bars in groups)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "procjob", "font.size": 8}):
        drawing = Figure(figsize=(8, 0.9 + 0.1 * height), layout="constrained")
        axes = drawing.add_subplot()
        at, ticks = 0.0, []
        for key, bars in groups:
            ticks.append((at + (len(bars) - 1) / 2, key))
            for name, value in bars.items():
                axes.barh(at, value - 1, left=1, color=colours[name], height=0.9)
                at += 1
            at += 1.5
        drawn = [name for name in names if any(name in bars for _, bars in groups)]
        for name in drawn:
            axes.barh(0, 0, color=colours[name], label=name)
        axes.axvline(1, color="grey", linewidth=0.8)
        axes.set(
            xscale="log", xlabel="times the goal, or the best peer where there is no goal; right of the line is better"
        )
        axes.set_yticks([place for place, _ in ticks], [key for _, key in ticks])
        axes.invert_yaxis()
        axes.margins(y=0.01)
        drawing.legend(loc="outside upper center", ncols=min(len(drawn), 6) or 1, frameon=False)
        drawing.savefig(file, metadata={"Date": None})
