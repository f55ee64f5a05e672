"""How an ICN reproduction is told: plain data of the stages to sections with pictures. Needs no model."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from armillary.numerics.intervals import Interval
from armillary.records.claims import ClaimResult, verdict_findings
from armillary.records.sections import Cell, Figure, Finding, Section, Table, interval_bars
from reproductions.icn.measures import distinct_correct

Found = dict[str, Any]
Measures = Mapping[str, Interval]

_SECTION = {
    "clusters": "clusters",
    "spread": "ranks",
    "top-better-than-middle": "ranks",
    "spurious-in-cluster": "ranks",
    "navigation": "lists",
    "more-correct-answers": "answers",
    "diverse-texts": "open",
    "self-consistency": "open",
    "fixed-keys": "training",
}


def findings(claims: Sequence[ClaimResult]) -> list[Finding]:
    """One sentence a claim."""
    return verdict_findings(claims, _SECTION, "answers")


def sections(found: Found, m: Measures) -> list[Section]:
    """Answers first, then lists, ranks, clusters, open texts and chains, training."""
    return [
        _answers(found["probes"], m),
        _lists(m),
        _ranks(found["probes"], m),
        _clusters(found, m),
        _open(found["open"], m),
        _training(found["training"], m),
    ]


def _under(m: Measures, prefix: str) -> dict[str, Interval]:
    return {
        name.removeprefix(prefix): value
        for name, value in m.items()
        if name.startswith(prefix) and " minus " not in name
    }


def _answers(probes: Sequence[Found], m: Measures) -> Section:
    arms = dict(sorted(_under(m, "answers/").items(), key=lambda item: -item[1].estimate))
    ours, static = arms["navigation"], arms["static"]
    best = next(name for name in arms if name != "navigation")
    count = len(probes[0]["arms"]["static"]["texts"])
    rows: list[list[Cell]] = [
        [one["id"], one["answers"], *(distinct_correct(one, arm) for arm in arms)] for one in probes
    ]
    return Section(
        id="answers",
        title=f"Different correct answers among {count}",
        summary=f"Navigation {ours.estimate:.1f}, the static ranking {static.estimate:.1f}, the best rival "
        f"({best}) {arms[best].estimate:.1f}; mean over {len(probes)} probes.",
        meaning="Every way gives the same number of answers to the same instruction; the bar counts different correct "
        "ones. Orders (static, cluster cap, key MMR, query projection) choose first tokens; the others sample or "
        "search whole answers; the list at once is what the model writes by itself.",
        caution="Right means found in a closed list after spelling is evened out: rare right answers may be missed. A "
        "list at once may stop early, and then gives fewer answers. The list given for free was told ten right ones "
        "beforehand, which are still counted when it repeats them.",
        figures=[
            interval_bars("Different correct answers, mean over probes", arms, "different correct answers"),
            interval_bars("Precision of all answers, repeats included", _under(m, "precision/"), "share of answers"),
        ],
        tables=[Table(title="By probe", columns=["probe", "right answers known", *arms], rows=rows)],
    )


def _lists(m: Measures) -> Section:
    values = {
        f"{kind} list of {length}": m[f"lists/{kind} fall, {length}"]
        for length in (10, 30)
        for kind in ("own", "shuffled", "foreign")
        if f"lists/{kind} fall, {length}" in m
    }
    own, foreign = m["lists/own fall, 10"], m["lists/foreign fall, 10"]
    return Section(
        id="lists",
        title="What a list in the context does to explored tokens",
        summary=f"Ranks of the ten explored first tokens fall by a factor of {2**own.estimate:.1f} under a list of "
        f"their own answers, and by {2**foreign.estimate:.1f} under an equally long list of another class.",
        meaning="If a list navigates, explored tokens should fall more under their own list than under any other. "
        "Doublings of the rank: 1 means from rank 5 to rank 10.",
        caution="A foreign list also changes the topic, which pushes the explored tokens down for another reason; "
        "copying pulls the other way. Where the own list pushes less, the gain of navigation comes from skipping what "
        "was explored and from staying on topic, not from avoiding explored keys.",
        figures=[interval_bars("Fall of explored first tokens", values, "doublings of the rank")],
    )


def _ranks(probes: Sequence[Found], m: Measures) -> Section:
    shares = {name: m[f"spread/{name}"] for name in ("in-cluster share", "frequency-matched share", "uniform share")}
    accuracy = {"ranks 1 to top": m["ranks/top"], "ranks after": m["ranks/middle"]}
    width = 10
    length = len(probes[0]["gold"]) // width * width
    table = np.array([one["gold"][:length] for one in probes], float).reshape(len(probes), -1, width).mean(2)
    spurious = m.get("in-cluster/accuracy minus out, same ranks")
    told = "" if spurious is None else f" Within like ranks, in-cluster answers differ by {spurious.estimate:+.3f}."
    return Section(
        id="ranks",
        title="What stands in the middle ranks",
        summary=f"{shares['in-cluster share'].estimate:.0%} of the middle ranks lie in clusters of the top ones "
        f"(frequency-matched draw {shares['frequency-matched share'].estimate:.1%}).{told}",
        meaning="First tokens are ranked once, each is completed greedily, and the answers are judged.",
        caution="In- and out-of-cluster tokens differ in rank as well; only the comparison within bands of ranks "
        "counts.",
        figures=[
            interval_bars("Share of the middle ranks in clusters of the top ranks", shares, "share"),
            interval_bars("Accuracy", accuracy, "share of right answers"),
            Figure(
                kind="lines",
                title="Accuracy by rank",
                data={
                    "x": [int(place) for place in (np.arange(table.shape[1]) + 0.5) * width],
                    "series": [{"name": "mean over probes", "y": table.mean(0).tolist()}],
                    "x_label": "rank of the first token",
                    "y_label": "share of right answers",
                },
                alt="Accuracy over ranks in steps of ten.",
            ),
        ],
    )


def _clusters(found: Found, m: Measures) -> Section:
    rows: list[list[Cell]] = []
    for metric in ("cosine", "euclidean"):
        for one in found[f"clusters {metric} 0"]["examples"]:
            rows.append([metric, one["size"], "  ".join(one["tokens"])])
    values = {
        f"{kind}, {label}": m[f"{prefix}clusters/{kind}"]
        for prefix, label in (("", "cosine"), ("euclidean ", "Euclidean"))
        for kind in ("within", "between")
    }
    groups = {
        name.removeprefix("clusters/").removesuffix(" in two clusters"): value
        for name, value in m.items()
        if name.startswith("clusters/") and name.endswith(" in two clusters")
    }
    gap = m["clusters/within minus between"]
    return Section(
        id="clusters",
        title="Clusters of the vocabulary's keys",
        summary=f"Keys of one cluster are alike by {values['within, cosine'].estimate:.2f}, random keys by "
        f"{values['between, cosine'].estimate:.2f} (centred cosine; gap {gap.estimate:.2f}).",
        meaning="A key is a token's row of the unembedding. Clusters are found by k-means; letters, digits and months "
        "tell whether they hold what belongs together.",
        caution="k-means finds clusters in anything; the gap against pairs across clusters is what counts. Where "
        "embeddings are tied, a key is also the token's input, and clusters mix both roles.",
        figures=[
            interval_bars("Alikeness of keys", values, "mean centred cosine"),
            interval_bars("Share of a group in its two largest clusters", groups, "share"),
        ],
        tables=[
            Table(title="Largest clusters and a middling one", columns=["metric", "tokens", "nearest"], rows=rows)
        ],
    )


def _open(stages: Sequence[Found], m: Measures) -> Section:
    distinct = {arm: m[f"open/distinct-2, {arm}"] for arm in stages[0]}
    valid = {arm: m[f"open/valid, {arm}"] for arm in stages[0]}
    votes = {
        f"{kind}, {arm}": m[f"chains/{kind}, {arm}"] for kind in ("vote", "paths") for arm in ("navigation", "static")
    }
    rows: list[list[Cell]] = [
        [arm, text] for arm, one in stages[0].items() for text in list(dict.fromkeys(one["texts"]))[:5]
    ]
    return Section(
        id="open",
        title="Open-ended texts and chains of thought",
        summary=f"Distinct-2 {distinct['navigation'].estimate:.2f} with navigation, "
        f"{distinct['static'].estimate:.2f} without; votes right in {votes['vote, navigation'].estimate:.0%} against "
        f"{votes['vote, static'].estimate:.0%}.",
        meaning="Distinct-2 is the share of word pairs that are not repeats. A vote is the most common answer of four "
        "paths to a word problem of two steps.",
        caution="Valid means a sentence in form, not that it keeps to the instruction. Models this small solve few "
        "problems, so that votes say little.",
        figures=[
            interval_bars("Distinct-2", distinct, "share"),
            interval_bars("Sentences in form", valid, "share"),
            interval_bars("Word problems", votes, "share right"),
        ],
        tables=[Table(title="First texts to the first instruction", columns=["way", "text"], rows=rows)],
    )


def _training(stage: Found, m: Measures) -> Section:
    if "training/spearman" not in m:
        return Section(
            id="training",
            title="Keys under fine-tuning",
            summary="No target word is a single token here.",
            meaning="Single tokens are taught after neutral prompts.",
            caution="Nothing was measured.",
        )
    change = {
        "head (keys)": m["training/relative change of the head"],
        "blocks": m["training/relative change of the blocks"],
    }
    along = {
        "real keys": m["training/spearman"],
        "head trained": m["training/spearman, head trained"],
        "shuffled keys": m["training/spearman, shuffled keys"],
    }
    rows: list[list[Cell]] = [
        [word, name, one["spearman"], one["neighbours"], one["random"], one["target"]]
        for word, runs in stage["targets"].items()
        for name, one in runs.items()
    ]
    return Section(
        id="training",
        title="Keys under fine-tuning",
        summary=f"The head moved {m['training/head over blocks'].estimate:.2f} times as much as the blocks, relative "
        f"to its size; what a token gained follows its key's likeness to the target's with Spearman "
        f"{along['real keys'].estimate:.2f}.",
        meaning="A single token is taught after neutral prompts; other prompts tell which tokens came along.",
        caution="Few steps on few prompts. Where embeddings are tied, training the head also trains the input."
        + (" They are tied here." if stage["tied"] else ""),
        figures=[
            interval_bars("Relative change of the weights", change, "norm of the change over norm"),
            interval_bars("Gain of a token against the likeness of its key", along, "Spearman"),
        ],
        tables=[
            Table(
                title="By target (nats of log-probability)",
                columns=["target", "head", "Spearman", "30 nearest keys", "random tokens", "target's own"],
                rows=rows,
            )
        ],
    )
