"""The plot of best-of-N: the reward model's best of n and the oracle over n, with greedy and average, by score."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLUMNS, INCHES, DPI = 3, (4.6, 3.6), 150  # of panels; of a panel
RM, ORACLE, GREEDY, AVERAGE = "#0072b2", "#009e73", "#d55e00", "#555555"  # colours that all eyes tell apart


def save(path: Path, results: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes a PNG with a panel a score; none where no score has a problem. The band is a standard error each way."""
    there = {name: found for name, found in results.items() if found["n"]}
    if not there:
        return
    columns = min(COLUMNS, len(there))
    rows = -(-len(there) // columns)
    figure = Figure((INCHES[0] * columns, INCHES[1] * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for panel, (name, found) in zip(panels, there.items(), strict=False):
        _draw(panel, name, found)
    for panel in list(figure.axes)[len(there) :]:
        panel.set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=DPI)


def _draw(panel: Axes, name: str, found: Mapping[str, Any]) -> None:
    ns = [int(n) for n in found["rm"]]
    for what, word, colour in (("oracle", "oracle (pass@n)", ORACLE), ("rm", "reward model", RM)):
        means, errors = list(found[what].values()), list(found[f"stderr_{what}"].values())
        panel.plot(ns, means, marker="o", color=colour, label=word)
        low, high = ([m + sign * e for m, e in zip(means, errors, strict=True)] for sign in (-1, 1))
        panel.fill_between(ns, low, high, color=colour, alpha=0.12, linewidth=0)
    for what, colour, style in (("greedy", GREEDY, "--"), ("average", AVERAGE, ":")):
        if what in found:
            panel.axhline(found[what], color=colour, linestyle=style, label=what)
    panel.set_xscale("log", base=2)
    panel.set_xticks(ns, [str(n) for n in ns])
    panel.set(title=f"{name} ({found['n']} problems)", xlabel="n, samples a problem", ylabel="share that passes")
    panel.grid(alpha=0.25)
    panel.legend(fontsize="small", loc="best")
