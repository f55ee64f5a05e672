"""How an MDGD reproduction is told: plain data of the stages to sections with pictures. Needs no model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from armillary.numerics.intervals import Interval, across_seeds
from armillary.records.claims import ClaimResult, verdict_findings
from armillary.records.sections import Cell, Figure, Finding, Section, Table, interval_bars
from reproductions.mdgd.claims import pooled
from reproductions.mdgd.measures import curve, drift, last_ranks, rank_change
from reproductions.mdgd.scale import (
    AFTERWARDS,
    ARMS,
    OLD_TASKS,
    PURELY_VISUAL,
    REAL_ARMS as REAL_ARMS,
    TARGET,
)

Found = Mapping[str, Any]
Measures = Mapping[str, Interval]

DRAWN = ("fine_tuning", "lower_rate", "align", "full", "conflict", "paper", "recommended")
_SECTION = {
    **dict.fromkeys(("rank-falls", "rank-tracks-forgetting", "rank-kept"), "ranks"),
    **dict.fromkeys(("projection-contributes", "signed-projection-contributes"), "projection"),
    "cost": "cost",
}


def findings(claims: Sequence[ClaimResult]) -> list[Finding]:
    """One sentence a claim."""
    return verdict_findings(claims, _SECTION, "forgetting")


def sections(seeds: Sequence[Found], seconds: Mapping[str, Sequence[float]], m: Measures) -> list[Section]:
    """What was forgotten, what the image states did, what the projection adds, what a step costs."""
    return [_forgetting(seeds, m), _tasks(seeds), _ranks(seeds, m), _projection(seeds, m), _cost(seconds, m)]


def title(name: str) -> str:
    """An arm in words."""
    return AFTERWARDS[name] if name in AFTERWARDS else ARMS[name].title


def _forgetting(seeds: Sequence[Found], m: Measures) -> Section:
    lost, paper = m["fine-tuning/old tasks lost"], m["paper/old tasks lost at equal target"]
    signed = m["recommended/old tasks lost at equal target"]
    names = [*ARMS, *AFTERWARDS]
    ends = {name: [curve(seed, name)[-1] for seed in seeds] for name in names}
    table: list[list[Cell]] = [
        [
            title(name),
            float(np.mean([kept for _, kept in ends[name]])),
            float(np.mean([target for target, _ in ends[name]])),
            float(np.mean([2 * a * b / (a + b) if a + b else 0.0 for a, b in ends[name]])),
        ]
        for name in names
    ]
    against = {
        baseline: m[f"{name}/kept beyond {baseline}"]
        for name in ("recommended",)
        for baseline in ("fine_tuning", "lower_rate", "l2sp", "lwf", "lora", "align", *AFTERWARDS)
    }
    return Section(
        id="forgetting",
        title="What learning the target costs on the old tasks",
        summary=f"Fine-tuning loses {100 * lost.estimate:.1f} points on the old tasks; at equal accuracy on the "
        f"target MDGD loses {100 * paper.estimate:.1f}, and {100 * signed.estimate:.1f} with the signed projection.",
        meaning="Each line is one way to learn, from left to right as it learns the target: the higher it stays, the "
        "less of the old tasks is lost. Arms are compared where they first reach the same accuracy on the target.",
        caution="Models are small and trained here, on three old tasks; a longer training would forget more.",
        figures=[
            _curves(seeds),
            interval_bars(
                "Signed MDGD minus each baseline, old tasks at equal target",
                {title(name): value for name, value in against.items()},
                "accuracy",
                [0.0] * len(against),
            ),
        ],
        tables=[
            Table(
                title=f"At the end, mean of {len(seeds)} seeds",
                columns=["arm", "old tasks", "target", "H-score"],
                rows=table,
                note=f"Before: {m['before/old tasks'].estimate:.3f} on the old tasks.",
            )
        ],
    )


def _curves(seeds: Sequence[Found]) -> Figure:
    """Old accuracy against the target's, mean over seeds of each evaluation."""
    level = np.linspace(0, 1, 21)
    series = []
    for name in DRAWN:
        points = np.array([curve(seed, name) for seed in seeds]).mean(0)
        target, kept = np.maximum.accumulate(points[:, 0]), points[:, 1]
        inside = (level >= target[0]) & (level <= target[-1])
        values = np.interp(level, target, kept)
        series.append(
            {"name": title(name), "y": [float(v) if ok else None for v, ok in zip(values, inside, strict=True)]}
        )
    return Figure(
        kind="lines",
        title="Old tasks against the target",
        data={"x": level.tolist(), "series": series, "x_label": "accuracy on the target", "y_label": "old tasks"},
        alt="Lines: accuracy on the old tasks as each arm learns the target.",
    )


def _tasks(seeds: Sequence[Found]) -> Section:
    columns = [*OLD_TASKS, TARGET]
    names = [*ARMS, *AFTERWARDS]
    change = [
        [float(np.mean([_end(seed, name)[t] - seed["start"]["accuracies"][t] for seed in seeds])) for t in columns]
        for name in names
    ]
    return Section(
        id="tasks",
        title="Which skills go, and whether the image states still hold them",
        summary="Changes of accuracy by task at the end of training, and what a linear read-out of the image states "
        "still tells.",
        meaning="Blue is lost, orange is gained. The read-out is fitted anew on the states after training: where it "
        "still works while the answers fail, the knowledge is there and the way of answering was lost.",
        caution="A read-out that works does not show that the model uses it.",
        figures=[
            Figure(
                kind="heatmap",
                title="Change of accuracy",
                data={
                    "rows": [title(name) for name in names],
                    "columns": columns,
                    "values": change,
                    "low": -0.5,
                    "high": 0.5,
                },
                alt="Table of colours: change of accuracy by arm and task.",
            )
        ],
        tables=[_probes(seeds)],
    )


def _end(seed: Found, name: str) -> Mapping[str, float]:
    if name in AFTERWARDS:
        after: Mapping[str, float] = seed["fine_tuning"]["afterwards"][name]["accuracies"]
        return after
    end: Mapping[str, float] = seed[name]["accuracies"][-1]
    return end


def _probes(seeds: Sequence[Found]) -> Table:
    rows: list[list[Cell]] = []
    for name in ["start", *(arm for arm in ARMS if "probe" in seeds[0][arm])]:
        found = [seed[name]["probe"] for seed in seeds]
        values = [float(np.mean([one[task][:-1] or one[task] for one in found])) for task in PURELY_VISUAL]
        rows.append(["before" if name == "start" else title(name), *values])
    return Table(
        title="Linear read-out of the image states, mean over layers but the last",
        columns=["after", *PURELY_VISUAL],
        rows=rows,
    )


def _ranks(seeds: Sequence[Found], m: Measures) -> Section:
    fell, tracks = m["fine-tuning/change of rank"], m["ranks/correlation with accuracy kept"]
    follows = m["drift/correlation with accuracy lost"]
    return Section(
        id="ranks",
        title="Effective rank and drift of the image states",
        summary=f"Under fine-tuning the effective rank changes by {100 * fell.estimate:+.1f} %. Over arms its change "
        f"correlates {tracks.estimate:.2f} with the accuracy kept, the drift {follows.estimate:.2f} with the accuracy "
        "lost.",
        meaning="Effective rank is how many directions the pictures' mean states use; drift is how far the states "
        "have moved from where they were before tuning, relative to their size.",
        caution="The rank can rise while skills are lost. The last layer is left out: answers never attend to it.",
        figures=[
            _over_training(seeds, "Effective rank over training, relative change", "change", rank_change),
            _over_training(seeds, "Drift over training", "drift", lambda readings, _: drift(readings)),
            _by_layer(seeds, "Effective rank by layer over training, relative change", _rank_changes),
            _by_layer(seeds, "Drift by layer over training", lambda readings, _: [r["drift"] for r in readings]),
        ],
        tables=[_ranks_by_layer(seeds)],
    )


def _over_training(seeds: Sequence[Found], words: str, label: str, value: Callable[[Any, Any], float]) -> Figure:
    series = [
        {
            "name": title(name),
            "y": np.mean(
                [[value(r, seed["start"]["ranks"]) for r in seed[name]["ranks"]] for seed in seeds], axis=0
            ).tolist(),
        }
        for name in DRAWN
    ]
    return Figure(
        kind="lines",
        title=words,
        data={"x": seeds[0]["fine_tuning"]["steps"], "series": series, "x_label": "step", "y_label": label},
        alt=f"Lines: {words.lower()}, for each arm.",
    )


def _rank_changes(readings: Sequence[Found], before: Sequence[Found]) -> list[float]:
    return [new["dataset_centred"] / was["dataset_centred"] - 1 for new, was in zip(readings, before, strict=True)]


def _by_layer(seeds: Sequence[Found], words: str, values: Callable[[Any, Any], list[float]]) -> Figure:
    """A row for each arm and layer but the last, a column for each reading; means over seeds."""
    rows, cells = [], []
    for name in ARMS:
        read = [[values(r, seed["start"]["ranks"]) for r in seed[name]["ranks"]] for seed in seeds]
        by_step = np.mean(read, axis=0)
        for layer in range(max(1, by_step.shape[1] - 1)):
            rows.append(f"{title(name)}, layer {layer}")
            cells.append([float(value) for value in by_step[:, layer]])
    largest = max(abs(value) for row in cells for value in row)
    columns = [str(step) for step in seeds[0]["fine_tuning"]["steps"]]
    return Figure(
        kind="heatmap",
        title=words,
        data={"rows": rows, "columns": columns, "values": cells, "low": -largest, "high": largest},
        alt=f"Table of colours: {words.lower()}, by arm and layer (rows) and step (columns).",
    )


def _ranks_by_layer(seeds: Sequence[Found]) -> Table:
    rows: list[list[Cell]] = []
    for layer in range(len(seeds[0]["start"]["ranks"])):
        before = np.mean([seed["start"]["ranks"][layer]["dataset_centred"] for seed in seeds])
        ends = [np.mean([last_ranks(s, n)[layer]["dataset_centred"] for s in seeds]) for n in DRAWN]
        rows.append([layer, float(before), *(float(end) for end in ends)])
    return Table(
        title="Effective rank by layer (centred, over pictures)",
        columns=["layer", "before", *(title(name) for name in DRAWN)],
        rows=rows,
    )


def _projection(seeds: Sequence[Found], m: Measures) -> Section:
    values = {
        "full + alignment, minus alignment": m["paper/kept beyond align"],
        "signed + alignment, minus alignment": m["recommended/kept beyond align"],
        "full alone, minus random": m["full/kept beyond random"],
        "signed alone, minus random": m["conflict/kept beyond random"],
    }
    cosine, removed = (
        {
            title(name): across_seeds([float(np.mean([line[key] for line in seed[name]["log"]])) for seed in seeds])
            for name in ("full", "conflict", "random", "paper", "recommended")
            if all(seed[name]["log"] for seed in seeds)
        }
        for key in ("gradient_cosine", "gradient_removed")
    )
    rows: list[list[Cell]] = [[name, cosine[name].estimate, removed[name].estimate] for name in cosine]
    return Section(
        id="projection",
        title="What the projection adds",
        summary=f"Beside alignment the full projection changes the old tasks by "
        f"{100 * values['full + alignment, minus alignment'].estimate:+.1f} points at equal target, the signed one by "
        f"{100 * values['signed + alignment, minus alignment'].estimate:+.1f}.",
        meaning="Bars right of 0: the projection by itself keeps more of the old tasks.",
        caution="A positive cosine means that the task's own gradient pulls the image states back; the full "
        "projection removes that too.",
        figures=[interval_bars("Old tasks at equal target", values, "accuracy", [0.0] * len(values))],
        tables=[
            Table(
                title="Gradients, mean over training",
                columns=["arm", "cosine of task and drift gradients", "share removed"],
                rows=rows,
            )
        ],
    )


def _cost(seconds: Mapping[str, Sequence[float]], m: Measures) -> Section:
    copied, cached = m["cost/copy over plain"], m["cost/cached over plain"]
    rows: list[list[Cell]] = [[name, float(np.median(values)), len(values)] for name, values in seconds.items()]
    return Section(
        id="cost",
        title="The cost of a step",
        summary=f"Training takes {copied.estimate:.2f} times as long with a frozen copy for reference, and "
        f"{cached.estimate:.2f} times with its states cached.",
        meaning="One forward and two backward passes, and with the copy another forward.",
        caution="Small models on this machine; benchmarks/mdgd.py compares with the naive two forwards.",
        figures=[
            interval_bars("Time over plain training", {"frozen copy": copied, "cached": cached}, "times", [1.0, 1.0])
        ],
        tables=[Table(title="Seconds of the timed steps", columns=["arm", "median", "timings"], rows=rows)],
    )


# How MDGD's run on real weights is told. Needs no torch.


def real_sections(seeds: Sequence[Found], m: Mapping[str, Interval]) -> list[Section]:
    """What was forgotten, and what image states did meanwhile."""
    return [_real_forgetting(seeds, m), _states(seeds, m)]


def _real_forgetting(seeds: Sequence[Found], m: Mapping[str, Interval]) -> Section:
    rows: list[list[Cell]] = []
    for name, arm in REAL_ARMS.items():
        for task in (*OLD_TASKS, TARGET):
            before, after = pooled(seeds, "start", (task,)).mean(), pooled(seeds, name, (task,)).mean()
            rows.append([arm.title, task, float(before), float(after), float(after - before)])
    lost, kept = m["real/fine_tuning, old tasks lost"], m["real/paper, old tasks lost"]
    return Section(
        id="forgetting",
        title="Old tasks and the new one on a real model",
        summary=f"Fine-tuning loses {100 * lost.estimate:.0f} points [{100 * lost.lower:.0f}, {100 * lost.upper:.0f}] "
        f"of old accuracy, MDGD {100 * kept.estimate:.0f} [{100 * kept.lower:.0f}, {100 * kept.upper:.0f}].",
        meaning="The language model has learned to read style, colour and group of emoji drawings through a new "
        "connector. Its last layers are then tuned to answer a made-up word for the group.",
        caution="Two seeds and few questions: the direction counts. Arms are compared after as many steps, not at "
        "equal accuracy on the new task, which stands beside them.",
        figures=[
            interval_bars(
                "Old accuracy lost by each arm",
                {arm.title: m[f"real/{name}, old tasks lost"] for name, arm in REAL_ARMS.items()},
                "share of answers",
            ),
            interval_bars(
                "Accuracy on the new task",
                {arm.title: m[f"real/{name}, target"] for name, arm in REAL_ARMS.items()},
                "share of answers",
            ),
        ],
        tables=[Table(title="By task", columns=["arm", "task", "before", "after", "change"], rows=rows)],
    )


def _states(seeds: Sequence[Found], m: Mapping[str, Interval]) -> Section:
    found = m["real/drift against accuracy lost"]
    return Section(
        id="states",
        title="Image states by layer",
        summary=f"Over arms, drift and accuracy lost go together with a rank correlation of {found.estimate:.2f} "
        f"[{found.lower:.2f}, {found.upper:.2f}].",
        meaning="Relative drift of the image tokens' hidden states from the weights before tuning, and the change of "
        "their effective rank over pictures. Layers below the trained ones can't move.",
        caution="The last layer's image states are read by no answer.",
        figures=[
            _lines(seeds, "drift", "Relative drift by layer"),
            _lines(seeds, "dataset_centred", "Effective rank over pictures by layer"),
        ],
    )


def _lines(seeds: Sequence[Found], key: str, title: str) -> Figure:
    layers = [reading["layer"] for reading in seeds[0]["start"]["ranks"]]
    series = []
    for name, arm in REAL_ARMS.items():
        values = [[reading[key] for reading in seed[name]["ranks"]] for seed in seeds]
        series.append({"name": arm.title, "y": [float(value) for value in np.mean(values, axis=0)]})
    if key != "drift":
        values = [[reading[key] for reading in seed["start"]["ranks"]] for seed in seeds]
        series.append({"name": "before", "y": [float(value) for value in np.mean(values, axis=0)]})
    return Figure(
        kind="lines",
        title=title,
        data={"x": layers, "series": series, "x_label": "layer", "y_label": title.split(" by ")[0].lower()},
        alt=f"{title}, mean over seeds, of " + ", ".join(str(one["name"]) for one in series) + ".",
    )
