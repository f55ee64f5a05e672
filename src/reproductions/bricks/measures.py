"""From the plain data of the Bricks stages to the named measures that the claims read. Needs no model."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from armillary.methods.bricks.neurons.config import CAPABILITIES
from armillary.numerics.intervals import Interval, across_seeds, binomial, bootstrap_mean, paired_difference
from reproductions.bricks.claims import ALMOST_NOTHING
from reproductions.bricks.scale import OTHERS, TASKS

Found = dict[str, Any]
SPLITTINGS = ("weights", "coactivation", "random")
HIGH_SCORE = 0.8
BEYOND = 0.01


def measures(found: Found) -> dict[str, Interval]:
    """Every measure by name; what could not be measured is absent."""
    return {
        **_sparsity(found["neurons"]),
        **_scores(found["neurons"]),
        **_masking(found["masks"]),
        **_overlap(found["neurons"]),
        **_knockouts(found["knockouts"]),
        **_residents(found["knockouts"]),
        **_experts(found["experts"]),
        **_routing(found["routing"]),
        **_retrieval(found["adapters"]),
        **_merging(found["adapters"]),
        **_edits(found["edits"]),
        **_growth(found["preserved"], found["growth"]),
        **_saving(found["saving"]),
    }


def _interval(data: Found, scale: float = 1.0) -> Interval:
    """An interval of a part, times a number."""
    one = Interval.from_dict(data)
    low, high = (None if end is None else end * scale for end in (one.low, one.high))
    return Interval(estimate=one.estimate * scale, low=low, high=high, n=one.n, level=one.level, how=one.how)


def _draws(values: Sequence[float]) -> Interval:
    return across_seeds(values, how=f"t interval over {len(values)} draws of texts")


def _sparsity(draws: Sequence[Found]) -> dict[str, Interval]:
    return {
        "sparsity/share below 0.2": _draws([one["share below 0.2"]["estimate"] for one in draws]),
        "sparsity/share below 0.2, least layer": _draws([min(one["share below 0.2 by layer"]) for one in draws]),
        "sparsity/share below 0.2, activation": _draws(
            [one["share below 0.2, activation"]["estimate"] for one in draws]
        ),
    }


def _scores(draws: Sequence[Found]) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    above: dict[str, Interval] = {}
    for name in CAPABILITIES:
        rows = [one["capabilities"][name] for one in draws]
        nulls = [np.array(one["null"]) for one in draws]
        above[name] = _draws([float((np.array(r["best"]) > n).mean()) for r, n in zip(rows, nulls, strict=True)])
        out[f"scores/best, {name}"] = _draws([float(np.mean(row["best"])) for row in rows])
        out[f"scores/best on other texts, {name}"] = _draws([float(np.mean(row["best, held out"])) for row in rows])
        high = [float((np.array(row["best"]) > HIGH_SCORE).mean()) for row in rows]
        out[f"scores/layers above 0.8, {name}"] = _draws(high)
    out |= {f"scores/layers above the null, {name}": value for name, value in above.items()}
    out["scores/layers above the null, least capability"] = min(above.values(), key=lambda one: one.estimate)
    out["scores/layers above the null, shuffled"] = _draws(
        [
            float(
                np.mean([np.array(one["capabilities"][name]["best, shuffled"]) > one["null"] for name in CAPABILITIES])
            )
            for one in draws
        ]
    )
    rows = [[one["capabilities"][name] for name in CAPABILITIES] for one in draws]
    falls = [float(np.mean([np.subtract(r["best"], r["top 5 per mille"]).mean() for r in row])) for row in rows]
    out["scores/best minus top 5 per mille"] = _draws(falls)
    for key, name in (("mean", "scores/mean over chance"), ("mean, relative", "scores/mean over chance, relative")):
        out[name] = _draws([float(np.mean([r[key] / r["chance"] for r in row])) for row in rows])
    return out


def _masking(masks: Found) -> dict[str, Interval]:
    share = 1 / masks["base"]
    return {
        "masking/loss at 70 % by activation": _interval(masks["activation loss"], share),
        "masking/loss at 80 % by magnitude": _interval(masks["magnitude loss"], share),
        "masking/activation minus magnitude, 70 %": _interval(masks["gains"]["0.7"]),
        "masking/knee by activation": _interval(masks["knee"]["activation"]),
        "masking/knee by magnitude": _interval(masks["knee"]["magnitude"]),
        "masking/sparsity at 1 % more perplexity (CETT)": _interval(masks["cett knee"]),
    }


def _overlap(draws: Sequence[Found]) -> dict[str, Interval]:
    pairs = list(draws[0]["overlaps"])
    means = [float(np.mean([one["overlaps"][pair]["share"]["estimate"] for one in draws])) for pair in pairs]
    same = [float(np.mean([one["stability"][name]["estimate"] for one in draws])) for name in CAPABILITIES]
    return {
        "overlap/mean of pairs": bootstrap_mean(means, seed=0, how=f"bootstrap over {len(pairs)} pairs"),
        "overlap/one capability, other texts": bootstrap_mean(
            same, seed=0, how=f"bootstrap over {len(same)} capabilities"
        ),
        **{
            f"overlap/{pair}": Interval(estimate=value, n=len(draws)) for pair, value in zip(pairs, means, strict=True)
        },
    }


def _knockouts(draws: Sequence[Found]) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    shown = 0
    for name in CAPABILITIES:
        rows = [one["capabilities"][name] for one in draws]
        shown += all(Interval.from_dict(row[key]).lower > 0 for row in rows for key in ("others", "random", "matched"))
        for key, told in (("others", "mean of others"), ("random", "random"), ("matched", "matched")):
            out[f"knockout/{name}, own minus {told}"] = _draws([row[key]["estimate"] for row in rows])
    out["knockout/capabilities hurt most, above random and matched"] = binomial(
        shown, len(CAPABILITIES), how=f"capabilities; every interval above 0 in each of {len(draws)} draws"
    )
    largest = [_is_largest(one["effects"], name) for one in draws for name in CAPABILITIES]
    out["knockout/own effect is the largest of its row"] = binomial(
        sum(largest), len(largest), how="rows of all draws"
    )
    return out


def _is_largest(effects: Found, name: str) -> bool:
    row = {other: effects[name][other]["delta_nll"]["estimate"] for other in CAPABILITIES}
    return max(row, key=lambda other: row[other]) == name


def _residents(draws: Sequence[Found]) -> dict[str, Interval]:
    rows = [row for one in draws for row in one["cleaned"]]
    if not rows:
        return {}
    names = {
        "residents/own effect kept": ("less residents", "own"),
        "residents/collateral kept": ("less residents", "collateral"),
        "residents/own effect kept without as many others": ("less others", "own"),
        "residents/collateral kept without as many others": ("less others", "collateral"),
    }
    return {
        name: bootstrap_mean(
            [row[arm][key]["estimate"] for row in rows], seed=0, how=f"bootstrap over {len(rows)} sets"
        )
        for name, (arm, key) in names.items()
    }


def _experts(found: Found) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    for kind in SPLITTINGS:
        cells = [one for row in found[kind] for one in row.values()]
        beyond = sum(one["p_of_number"] <= BEYOND for one in cells)
        out[f"experts/cells beyond chance, {kind}"] = binomial(beyond, len(cells), how="capabilities and draws")
        degrees = [one["degree"] for one in cells if one["degree"] is not None]
        if degrees:
            out[f"experts/count over expected, {kind}"] = bootstrap_mean(degrees, seed=0, how="capabilities and draws")
    return out


def _routing(found: Found) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    for name, curve in found["curves"].items():
        for point in curve["points"]:
            share = point["k"] / curve["experts"]
            out[f"routing/loss at {share:.0%}, {name}"] = _interval(point["all"]["delta_nll"], 1 / curve["base"])
    quarter = [
        _interval(curve["points"][0]["all"]["delta_nll"], 1 / curve["base"])
        for name, curve in found["curves"].items()
        if name.endswith("ridge")
    ]
    out["routing/loss at a quarter, best fitted router"] = min(quarter, key=lambda one: one.estimate)
    for kind, gains in found["gains"].items():
        weakest = min(gains, key=lambda one: one["estimate"])
        out[f"routing/random minus {kind}, half, weakest draw"] = _interval(weakest)
    for kind, recall in found["recall"].items():
        out[f"routing/recall at a quarter, {kind}"] = _interval(recall["recall"])
    return out


def _retrieval(draws: Sequence[Found]) -> dict[str, Interval]:
    base, retrieved, oracle, right = [], [], [], []
    alone: dict[str, list[float]] = {task: [] for task in TASKS}
    for one in draws:
        for row, (owner, first) in enumerate(zip(one["owners"], one["retrieved"]["first"], strict=True)):
            base.append(one["base"][row])
            retrieved.append(one["base"][row] if first is None else one["alone"][first][row])
            oracle.append(one["alone"][owner][row])
            right.append(first == owner)
            for task in TASKS:
                alone[task].append(one["alone"][task][row])
    fixed = min(alone.values(), key=lambda values: float(np.mean(values)))
    average = [value for one in draws for value in one["merged"]["average"]]
    lots = np.mean([alone[task] for task in TASKS], axis=0)
    pairs = {
        "retrieved minus best fixed": (retrieved, fixed),
        "retrieved minus oracle": (retrieved, oracle),
        "retrieved minus base": (retrieved, base),
        "retrieved minus average of all": (retrieved, average),
        "retrieved minus one by lot": (retrieved, lots),
        "oracle minus base": (oracle, base),
    }
    how = f"paired bootstrap over {len(base)} texts"
    return {
        **{f"retrieval/{name}": paired_difference(a, b, seed=0, how=how) for name, (a, b) in pairs.items()},
        "retrieval/own brick first": binomial(sum(right), len(right), how="texts"),
    }


def _merging(draws: Sequence[Found]) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    for rule in draws[0]["retention"]:
        kept = [one["retention"][rule][task] for one in draws for task in TASKS]
        values = [one["estimate"] for one in kept if one is not None]
        if len(values) > 1:
            out[f"merging/retention, {rule}"] = bootstrap_mean(
                values, seed=0, how=f"bootstrap over {len(values)} adapters with a sure gain"
            )
    rises: dict[bool, list[float]] = {True: [], False: []}
    for one in draws:
        for owner, before, after in zip(one["owners"], one["base"], one["negated"], strict=True):
            rises[owner == TASKS[0]].append(after - before)
    out["merging/negation, own minus others"] = _difference(rises[True], rises[False])
    return out


def _difference(a: Sequence[float], b: Sequence[float]) -> Interval:
    """Difference of two means over different texts, each resampled."""
    generator = np.random.default_rng(0)
    first, second = np.array(a), np.array(b)
    drawn = [one[generator.integers(0, len(one), (2000, len(one)))].mean(axis=1) for one in (first, second)]
    low, high = np.quantile(drawn[0] - drawn[1], [0.025, 0.975])
    return Interval(
        estimate=float(first.mean() - second.mean()),
        low=float(low),
        high=float(high),
        n=len(first) + len(second),
        how=f"bootstrap over {len(first)} and {len(second)} texts",
    )


def _edits(found: Found) -> dict[str, Interval]:
    if not found["facts"]:
        return {}
    out: dict[str, Interval] = {}
    names = {"efficacy": "efficacy", "generalisation": "paraphrases", "unchanged": "neighbours unchanged"}
    for arm, one in found["arms"].items():
        for key, told in {**names, "generation": "written freely"}.items():
            if one["scores"][key] is not None:
                out[f"edits/{told}, {arm}"] = _interval(one["scores"][key])
    general, identity = ([row["unchanged"] for row in found["arms"][arm]["facts"]] for arm in ("general", "identity"))
    out["edits/unchanged, general minus identity"] = paired_difference(
        general, identity, seed=0, how=f"paired bootstrap over {len(general)} facts"
    )
    out["edits/divergence on other prose"] = _interval(found["side effects"]["divergence"])
    return out


def _growth(preserved: Found, draws: Sequence[Found]) -> dict[str, Interval]:
    largest = max(max(one["prefill"], one["decode"]) for one in preserved.values())
    out = {
        "growth/largest logit difference": Interval(
            estimate=largest, n=len(preserved), how="largest of the ways to grow, at once and with a cache"
        )
    }
    for arm in draws[0]["texts"]:
        new = [value for one in draws for value in one["texts"][arm]["german"]]
        old = [value for one in draws for name in OTHERS for value in one["texts"][arm][name]]
        for told, values in (("new", new), ("old", old)):
            how = f"bootstrap over {len(values)} texts of {len(draws)} draws"
            out[f"growth/{told}, {arm}"] = bootstrap_mean(values, seed=0, how=how)
    return out


def _saving(found: Found) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    equal: list[Interval] = []
    for name, arm in found["arms"].items():
        loss, time = _interval(arm["loss"], 1 / found["base"]), _interval(arm["time"])
        out[f"saving/loss, {name}"] = loss
        out[f"saving/time ratio, {name}"] = time
        if loss.upper <= ALMOST_NOTHING:
            equal.append(time)
    none = Interval(estimate=1.0, how="no configuration is as good: the dense model itself")
    out["saving/time ratio at equal quality"] = max(equal, key=lambda one: one.estimate, default=none)
    return out
