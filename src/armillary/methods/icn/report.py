"""How a survey of the key space is told: plain data to words and pictures. Needs no model."""

from typing import Any

from armillary.numerics.intervals import Interval
from armillary.records.sections import Figure, Finding, Section, Table

Payload = dict[str, Any]
SHOWN = 60
"""Clusters in the table, largest first."""


def measures(payload: Payload) -> dict[str, Interval]:
    """The survey's numbers by name."""
    cohesion, null, ranks = payload["cohesion"], payload["null"], payload["ranks"]
    return {
        "keys/within clusters": Interval.from_dict(cohesion["within"]),
        "keys/between clusters": Interval.from_dict(cohesion["between"]),
        "keys/within minus between": Interval.from_dict(cohesion["difference"]),
        "keys/within minus between, shuffled keys": Interval.from_dict(null["difference"]),
        "keys/in-cluster share of the middle ranks": Interval.from_dict(ranks["share"]),
        "keys/in-cluster share, frequency-matched draw": Interval.from_dict(ranks["null"]),
    }


def finding(payload: Payload) -> Finding:
    """The one sentence: how the ranking sticks to the clusters of its top."""
    share, null = (Interval.from_dict(payload["ranks"][key]) for key in ("share", "null"))
    times = share.estimate / max(null.estimate, 1e-3)
    text = (
        f"{share.estimate:.0%} of the middle ranks of the next token are keys from the clusters of the top ten, "
        f"{times:.0f} times a draw of like frequency: what looks like the top token is ranked high, right or wrong."
    )
    return Finding(text=text, interest=min(0.7, 0.3 + 0.02 * times), section="keys")


def section(payload: Payload) -> Section:
    """Map, groups, ranks, and the tokens of the clusters."""
    facts, m = payload["facts"], measures(payload)
    gap, null = m["keys/within minus between"], m["keys/within minus between, shuffled keys"]
    share, drawn = m["keys/in-cluster share of the middle ranks"], m["keys/in-cluster share, frequency-matched draw"]
    summary = (
        f"{facts['n_clusters']} clusters of {facts['tokens']:,} keys: keys of one cluster are more alike than others "
        f"by {gap.estimate:.2f} (centred cosine; shuffled keys: {null.estimate:.2f}). Of the ranks "
        f"{payload['ranks']['top'] + 1} to {payload['ranks']['ranks']} after eight prompts, {share.estimate:.0%} lie "
        f"in clusters of the first {payload['ranks']['top']}; a draw of like frequency gives {drawn.estimate:.1%}."
    )
    return Section(
        id="keys",
        title="Vocabulary key space",
        summary=summary,
        meaning="Each token has a key, a row of the matrix that turns the last hidden state into logits. Keys that "
        "point the same way rise and fall together, whatever the prompt: letters with letters, digits with digits. A "
        "token that resembles the best one is ranked high even where it makes no sense.",
        caution=f"The map is flat and the space is not: of a cluster's ten nearest others, {payload['kept']:.0%} are "
        "also nearest on the map, so trust small neighbourhoods and not distances. k-means finds groups in anything; "
        "compare with the shuffled keys."
        + (" Keys and input embeddings are one matrix here, so the groups serve both." if payload["tied"] else ""),
        figures=[_map(payload), _groups(payload)],
        tables=[_clusters(payload), _neighbours(payload)],
    )


def _map(payload: Payload) -> Figure:
    clusters, tokens = payload["clusters"], payload["facts"]["tokens"]
    return Figure(
        kind="points",
        title=f"Clusters of vocabulary keys (the map keeps {payload['kept']:.0%} of the nearest neighbours)",
        data={
            "x": [cluster["x"] for cluster in clusters],
            "y": [cluster["y"] for cluster in clusters],
            "labels": [" ".join(cluster["examples"][:6]) for cluster in clusters],
            "groups": [_size_class(cluster["size"] / tokens, len(clusters)) for cluster in clusters],
            "x_label": "near each other: alike",
            "y_label": "",
        },
        alt=f"A point for each of {len(clusters)} clusters of vocabulary keys, labelled with its most central tokens.",
        interactive=True,
    )


def _size_class(share: float, clusters: int) -> str:
    typical = 1 / clusters
    return "large" if share > 4 * typical else "small" if share < typical / 4 else "of usual size"


def _groups(payload: Payload) -> Figure:
    groups = payload["groups"]
    said = ", ".join(f"{name} {one['largest_two']:.0%}" for name, one in groups.items())
    return Figure(
        kind="bars",
        title="Do tokens that belong together share a cluster?",
        data={
            "labels": list(groups),
            "values": [one["largest_two"] for one in groups.values()],
            "low": [one["largest_two"] for one in groups.values()],
            "high": [one["largest_two"] for one in groups.values()],
            "x_label": "share in the two clusters that hold most of them",
        },
        alt=f"Bars: {said}." if said else "No group of letters, digits or months is in this vocabulary.",
    )


def _clusters(payload: Payload) -> Table:
    ordered = sorted(payload["clusters"], key=lambda cluster: -cluster["size"])
    return Table(
        title=f"The {min(SHOWN, len(ordered))} largest clusters and their most central tokens",
        columns=["tokens", "nearest to the centre"],
        rows=[[cluster["size"], "  ".join(cluster["examples"])] for cluster in ordered[:SHOWN]],
        note=f"{len(ordered)} clusters in all; the map names each.",
    )


def _neighbours(payload: Payload) -> Table:
    return Table(
        title="Nearest keys of a few tokens",
        columns=["token", "nearest keys", "centred cosine of the nearest"],
        rows=[[row["token"], "  ".join(row["nearest"]), row["cosine"][0]] for row in payload["neighbours"]],
    )
