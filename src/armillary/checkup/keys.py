"""Diagnosis: how the vocabulary keys (rows of the unembedding) fall into groups.

A first simple form: k-means on keys of unit length, beside the same on keys whose coordinates were shuffled over the
vocabulary, which keeps every coordinate's distribution and destroys the groups.
"""

import torch
from torch import Tensor

from armillary.checkup.diagnosis import Context, Diagnosis, Outcome, Payload
from armillary.errors import ModelError
from armillary.numerics.intervals import Interval
from armillary.numerics.kmeans import kmeans
from armillary.runs.sections import Figure, Finding, Section, Table

EXAMPLES = 8
SEEDS = 3


def _unit_keys(context: Context) -> Tensor:
    weight = context.loaded.anatomy.head.weight
    if not isinstance(weight, Tensor):
        raise ModelError(f"{context.loaded.name} has no unembedding matrix.")
    keys_VD = weight.detach().to("cpu", torch.float32)
    # The head may be padded past the tokenizer; those rows are no words.
    keys_VD = keys_VD[: len(context.loaded.tokenizer)]
    return torch.nn.functional.normalize(keys_VD - keys_VD.mean(0), dim=1)


def _shuffled(keys_VD: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    columns = [column[torch.randperm(len(column), generator=generator)] for column in keys_VD.T]
    return torch.nn.functional.normalize(torch.stack(columns, dim=1), dim=1)


def _explained(keys_VD: Tensor, k: int, seed: int) -> tuple[float, Tensor, Tensor]:
    """Share of the keys' spread that k centres explain, with labels and centres."""
    result = kmeans(keys_VD, k, seed=seed, max_iterations=25)
    spread = float((keys_VD - keys_VD.mean(0)).square().sum(dtype=torch.float64))
    return 1 - float(result.inertia) / spread, torch.as_tensor(result.labels), torch.as_tensor(result.centers)


def _map(centers_KD: Tensor, keys_VD: Tensor) -> tuple[list[list[float]], float]:
    """Centres on the keys' first two principal axes, and the share of the keys' spread these axes carry."""
    centred_VD = (keys_VD - keys_VD.mean(0)).double()
    values, vectors = torch.linalg.eigh(centred_VD.T @ centred_VD)
    plane_D2 = vectors[:, -2:].flip(1)
    # The sign of an axis is arbitrary: fix it, so that the picture is the same on every machine.
    signs = torch.sign(plane_D2[plane_D2.abs().argmax(0), torch.arange(2)])
    places = (centers_KD.double() - keys_VD.double().mean(0)) @ (plane_D2 * signs)
    return places.tolist(), float(values[-2:].sum() / values.sum())


def measure(context: Context) -> Payload:
    """Clusters with their sizes, examples nearest to the centre, and places on the two first principal axes."""
    keys_VD = _unit_keys(context)
    k, seed = min(context.config.clusters, len(keys_VD)), context.config.seed
    runs = [_explained(keys_VD, k, seed + offset) for offset in range(SEEDS)]
    nulls = [_explained(_shuffled(keys_VD, seed + offset), k, seed + offset)[0] for offset in range(SEEDS)]
    _, labels_V, centers_KD = max(runs, key=lambda run: run[0])
    places, plane_share = _map(centers_KD, keys_VD)
    clusters = []
    for index in range(k):
        members = torch.nonzero(labels_V == index).flatten()
        nearest = members[(keys_VD[members] @ centers_KD[index]).topk(min(EXAMPLES, len(members))).indices]
        words = [context.loaded.tokenizer.decode([token]) for token in nearest.tolist()]
        clusters.append({"size": len(members), "examples": words, "x": places[index][0], "y": places[index][1]})
    return {
        "clusters": sorted(clusters, key=lambda cluster: -cluster["size"]),
        "shares": [run[0] for run in runs],
        "null_shares": nulls,
        "plane_share": plane_share,
        "tokens": len(keys_VD),
    }


def _range(values: list[float], what: str) -> Interval:
    mean = sum(values) / len(values)
    how = f"mean and range of {len(values)} starts, {what}"
    return Interval(estimate=mean, low=min(values), high=max(values), n=len(values), level=1.0, how=how)


def describe(payload: Payload) -> Outcome:
    """Map of the clusters and the table of examples."""
    clusters = payload["clusters"]
    share = _range(payload["shares"], "k-means on unit keys")
    null = _range(payload["null_shares"], "coordinates shuffled over the vocabulary")
    largest = clusters[0]
    quoted = ", ".join(repr(word) for word in largest["examples"][:4])
    summary = (
        f"{len(clusters)} groups explain {share.estimate:.1%} of the spread of {payload['tokens']:,} keys "
        f"(shuffled coordinates: {null.estimate:.1%}). The largest group holds "
        f"{largest['size'] / payload['tokens']:.0%} "
        f"of the vocabulary, around {quoted}."
    )
    section = Section(
        id="keys",
        title="Vocabulary key space",
        summary=summary,
        meaning="Each token has a key, a row of the matrix that turns the last hidden state into logits. Tokens whose "
        "keys point the same way are hard to tell apart for the model and rise and fall together; groups show what it "
        "treats as alike.",
        caution=f"The map keeps {payload['plane_share']:.0%} of the spread: two groups that touch here can be far "
        "apart in the full space. The number of groups is our choice, and k-means finds groups in anything; compare "
        "with the shuffled share before believing in them.",
        figures=[_picture(payload)],
        tables=[_examples(payload)],
    )
    gain = share.estimate - null.estimate
    text = (
        f"Vocabulary keys form groups: {len(clusters)} explain {share.estimate:.0%} of their spread, by chance "
        f"{null.estimate:.0%}."
    )
    return Outcome(
        section=section,
        measures={"keys/share": share, "keys/null share": null},
        findings=[Finding(text=text, interest=min(0.7, 0.2 + 2 * max(0.0, gain)), section="keys")],
    )


def _picture(payload: Payload) -> Figure:
    clusters = payload["clusters"]
    return Figure(
        kind="points",
        title=f"Groups of vocabulary keys on their two widest axes ({payload['plane_share']:.0%} of the spread)",
        data={
            "x": [cluster["x"] for cluster in clusters],
            "y": [cluster["y"] for cluster in clusters],
            "labels": [" ".join(cluster["examples"][:4]) for cluster in clusters],
            "groups": [_size_class(cluster["size"] / payload["tokens"]) for cluster in clusters],
            "x_label": "first principal axis",
            "y_label": "second principal axis",
        },
        alt=f"A point for each of {len(clusters)} groups of vocabulary keys, labelled with its most central tokens.",
        interactive=True,
    )


def _examples(payload: Payload) -> Table:
    return Table(
        title="The groups and their most central tokens",
        columns=["tokens", "share", "nearest to the centre"],
        rows=[
            [cluster["size"], cluster["size"] / payload["tokens"], "  ".join(cluster["examples"])]
            for cluster in payload["clusters"]
        ],
    )


def _size_class(share: float) -> str:
    return "over 5 % of tokens" if share > 0.05 else "2 to 5 %" if share > 0.02 else "under 2 %"


KEYS = Diagnosis(name="keys", title="Vocabulary key space", measure=measure, describe=describe)
