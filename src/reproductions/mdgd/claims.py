"""The claims of MDGD (arXiv 2502.11740) with the rules that decide them at laptop scale, written before the runs.

The statements are the paper's; quantities, thresholds, controls and nulls are ours throughout. The paper's equations
were not at hand, so ``paper`` is the literal reading of its text, and ``recommended`` our signed variant of it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.numerics.intervals import Interval, bootstrap_mean, paired_difference, range_over_seeds
from armillary.records.claims import Claim, Measures, Rule, Verdict, above, below, every
from reproductions.mdgd.measures import BASELINES, drift, rank_change
from reproductions.mdgd.scale import OLD_TASKS, REAL_ARMS as ARMS, TARGET

LOST = 0.10
TRACKS = 0.6
POINT = 0.01
LEARNED = "before/above the majority answer"
"""The control of most claims: a model that has learned nothing can't forget."""

LEAST_LEARNED = 0.15


def _if_learned(rule: Rule, *, forgets: bool = True) -> Rule:
    """Undecided where there was nothing to forget, or (``forgets``) nothing was forgotten."""

    def decide(m: Measures) -> Verdict:
        if m[LEARNED].lower < LEAST_LEARNED or (forgets and m["fine-tuning/old tasks lost"].lower <= 0):
            return "undecided"
        return rule(m)

    return decide


def _claim(id: str, statement: str, quantity: str, rule: str, decide: Rule, *needs: str, paper: str = "") -> Claim:
    return Claim(
        id=id, statement=statement, paper=paper, quantity=quantity, rule=rule, decide=decide, needs=(LEARNED, *needs)
    )


_FELL = "fine-tuning/old tasks lost"
_VOID = " Undecided where the old tasks were not learned (15 points above the majority answer) or nothing was lost."


def _retains(name: str, id: str, what: str) -> Claim:
    measure = f"{name}/lost beyond a third of fine-tuning's"
    return _claim(
        id,
        f"{what} keeps the old visual skills that fine-tuning loses, at equal accuracy on the new task.",
        "Loss on the old tasks minus a third of fine-tuning's, where both first reach the same accuracy on the "
        "target; mean over seeds.",
        "Holds when the interval is at or below 0, fails when it is above." + _VOID,
        _if_learned(below(measure, 1e-12)),
        _FELL,
        measure,
        paper="best averages on LLaVA-1.5 and MiniCPM-V-2.0; no table at hand" if name == "paper" else "",
    )


def _beats(name: str, id: str, what: str) -> Claim:
    baselines = [
        f"{name}/kept beyond {baseline}"
        for baseline in BASELINES
        if baseline not in ("fine_tuning", "align", "lora", "osf")
    ]
    return _claim(
        id,
        f"{what} keeps more than simple ways of forgetting less do.",
        "Accuracy on the old tasks minus that of each of: a fifth of the rate, L2-SP, learning without forgetting, "
        "WiSE-FT and a patch after Model Tailor, at equal accuracy on the target. Early stopping is in every "
        "comparison: curves are read where they first reach the level.",
        "Holds when it is above 0 against each, fails when it is at or below 0 against one." + _VOID,
        _if_learned(every(*(above(baseline) for baseline in baselines))),
        _FELL,
        *baselines,
    )


CLAIMS = (
    _claim(
        "forgetting-exists",
        "Fine-tuning on a text-driven target destroys visual skills learned in pre-training.",
        "Points of accuracy on the old tasks that fine-tuning loses.",
        "Holds when the interval is above 10 points, fails when it is below. Undecided where the old tasks were not "
        "learned.",
        _if_learned(above(_FELL, LOST), forgets=False),
        _FELL,
        paper="LLaVA-1.5 tuned on Flickr30K: 61.94 to 47.97 on six benchmarks (as quoted by others)",
    ),
    _claim(
        "rank-falls",
        "The effective rank of the image states falls under fine-tuning.",
        "Relative change of the centred effective rank over pictures, mean over all layers but the last.",
        "Holds when the interval is below 0, fails when it is above." + _VOID,
        _if_learned(below("fine-tuning/change of rank")),
        _FELL,
        "fine-tuning/change of rank",
    ),
    _claim(
        "rank-tracks-forgetting",
        "The fall of the effective rank tells how much was forgotten.",
        "Spearman correlation over arms of the change of rank and the accuracy kept, mean over seeds; that of the "
        "drift of image states stands beside it.",
        "Holds when the interval is above 0.6, fails when it is below." + _VOID,
        _if_learned(above("ranks/correlation with accuracy kept", TRACKS)),
        _FELL,
        "ranks/correlation with accuracy kept",
        "drift/correlation with accuracy lost",
    ),
    _retains("paper", "retains", "MDGD"),
    _retains("recommended", "signed-retains", "MDGD with the signed projection (ours)"),
    _claim(
        "rank-kept",
        "MDGD keeps the effective rank that fine-tuning loses.",
        "Change of rank under MDGD minus that under fine-tuning.",
        "Holds when the interval is above 0, fails when it is below." + _VOID,
        _if_learned(above("paper/rank kept beyond fine-tuning's")),
        _FELL,
        "paper/rank kept beyond fine-tuning's",
    ),
    _claim(
        "projection-contributes",
        "Removing the component along the visual drift helps by itself.",
        "Accuracy on the old tasks at equal target: projection and alignment minus alignment alone; and projection "
        "alone minus projection along a random direction.",
        "Holds when both intervals are above 0, fails when one is at or below." + _VOID,
        _if_learned(every(above("paper/kept beyond align"), above("full/kept beyond random"))),
        _FELL,
        "paper/kept beyond align",
        "full/kept beyond random",
    ),
    _claim(
        "signed-projection-contributes",
        "Removing it only where it raises the drift helps by itself (ours).",
        "The same with the signed projection.",
        "Holds when both intervals are above 0, fails when one is at or below." + _VOID,
        _if_learned(every(above("recommended/kept beyond align"), above("conflict/kept beyond random"))),
        _FELL,
        "recommended/kept beyond align",
        "conflict/kept beyond random",
    ),
    _claim(
        "masking",
        "Updating a tenth of the entries (MDGD-GM) does nearly as well.",
        "Accuracy on the old tasks at equal target, and accuracy on the target, minus MDGD's; and the former against "
        "a random tenth and against LoRA.",
        "Holds when it is at most a point below MDGD on both, and above 0 against both controls; fails when one of "
        "these is the other way." + _VOID,
        _if_learned(
            every(
                above("masked/kept beyond paper", -POINT),
                above("masked/target beyond paper", -POINT),
                above("masked/kept beyond random_mask"),
                above("masked/kept beyond lora"),
            )
        ),
        _FELL,
        "masked/kept beyond paper",
        "masked/target beyond paper",
        "masked/kept beyond random_mask",
        "masked/kept beyond lora",
    ),
    _beats("paper", "beats-simple-controls", "MDGD"),
    _beats("recommended", "signed-beats-simple-controls", "MDGD with the signed projection (ours)"),
    _claim(
        "beats-osf",
        "MDGD keeps more than orthogonal subspace fine-tuning (PEFT's OSF) does.",
        "Accuracy on the old tasks minus that of OSF, which keeps half of each matrix's singular directions, at equal "
        "accuracy on the target.",
        "Holds when it is above 0, fails when it is at or below 0." + _VOID,
        _if_learned(above("paper/kept beyond osf")),
        _FELL,
        "paper/kept beyond osf",
    ),
    Claim(
        id="cost",
        statement="A step of MDGD costs less than two plain ones.",
        quantity="Time of training with MDGD over plain training, with a frozen copy and with cached states, paired.",
        rule="Holds when both are below: 2 with the copy, 1.8 with the cache; fails when one is above.",
        decide=every(below("cost/copy over plain", 2.0), below("cost/cached over plain", 1.8)),
        needs=("cost/copy over plain", "cost/cached over plain"),
    ),
)

# What MDGD claims, judged on real weights: measures from what the run found, and rules, written before any run.
#
# [derived] Two seeds, so intervals are over questions, pooled over seeds: this shows that the path works on a real
# model and in which direction it goes, while the small models carry the statistics. Needs no torch.

Found = Mapping[str, Any]
Array = NDArray[np.float64]
FORGETS, SAME_TARGET, FOLLOWS = 0.10, -0.05, 0.6


def pooled(seeds: Sequence[Found], name: str, tasks: Sequence[str] = OLD_TASKS) -> Array:
    """1 for each question of these tasks answered rightly, seed after seed, at the end of an arm (or at the start)."""
    ends = [seed["start"]["right"] if name == "start" else seed[name]["right"][-1] for seed in seeds]
    return np.array([right for end in ends for task in tasks for right in end[task]], dtype=np.float64)


def measures(seeds: Sequence[Found]) -> dict[str, Interval]:
    """Every measure by name."""
    start, plain = pooled(seeds, "start"), pooled(seeds, "fine_tuning")
    majority = float(np.mean([seed["start"]["majority"][task] for seed in seeds for task in OLD_TASKS]))
    out = {
        "real/old tasks before": _mean(start),
        "real/above the most frequent answers": _mean(start - majority),
        "real/paper, lost beyond a third": _mean((start - pooled(seeds, "paper")) - (start - plain) / 3),
        "real/drift against accuracy lost": _follows(seeds),
    }
    for name in ARMS:
        out[f"real/{name}, old tasks lost"] = paired_difference(start, pooled(seeds, name), seed=0)
        out[f"real/{name}, target"] = _mean(pooled(seeds, name, (TARGET,)))
        out[f"real/{name}, target beyond fine-tuning"] = paired_difference(
            pooled(seeds, name, (TARGET,)), pooled(seeds, "fine_tuning", (TARGET,)), seed=0
        )
        readings = [(seed[name]["ranks"], seed["start"]["ranks"]) for seed in seeds]
        out[f"real/{name}, drift"] = range_over_seeds([drift(after) for after, _ in readings])
        out[f"real/{name}, change of rank"] = range_over_seeds(
            [rank_change(after, before) for after, before in readings]
        )
    for baseline in ("align", "lower_rate"):
        out[f"real/paper, kept beyond {baseline}"] = paired_difference(
            pooled(seeds, "paper"), pooled(seeds, baseline), seed=0
        )
    return out


def _mean(values: Array) -> Interval:
    return bootstrap_mean(values, seed=0, how=f"percentile bootstrap over {len(values)} questions")


def _follows(seeds: Sequence[Found]) -> Interval:
    """Spearman over arms between drift and old accuracy lost; the range over seeds."""
    from scipy.stats import spearmanr

    found = []
    for seed in seeds:
        lost = [float(pooled([seed], "start").mean() - pooled([seed], name).mean()) for name in ARMS]
        drifts = [drift(seed[name]["ranks"]) for name in ARMS]
        alike = np.ptp(lost) == 0 or np.ptp(drifts) == 0
        found.append(0.0 if alike else float(spearmanr(drifts, lost).statistic))
    return range_over_seeds(found)


def _sees(m: Measures) -> bool:
    return m["real/above the most frequent answers"].lower > 0


def _forgets(m: Measures) -> Verdict:
    lost = m["real/fine_tuning, old tasks lost"]
    if lost.upper < FORGETS:
        return "fails" if _sees(m) else "undecided"
    return "holds" if _sees(m) and lost.lower > 0 and lost.estimate >= FORGETS else "undecided"


def _real_retains(m: Measures) -> Verdict:
    beyond = m["real/paper, lost beyond a third"]
    if not _sees(m) or m["real/fine_tuning, old tasks lost"].lower <= 0:
        return "undecided"
    if beyond.lower > 0 or m["real/paper, target beyond fine-tuning"].upper < SAME_TARGET:
        return "fails"
    return "holds" if beyond.upper <= 0 else "undecided"


def _orders(m: Measures) -> Verdict:
    found = m["real/drift against accuracy lost"]
    if not _sees(m):
        return "undecided"
    return "holds" if found.lower >= FOLLOWS else "fails" if found.upper < FOLLOWS else "undecided"


def _real_beats(m: Measures) -> Verdict:
    gains = [m[name] for name in _BASELINES]
    if not _sees(m):
        return "undecided"
    if any(gain.upper <= 0 for gain in gains):
        return "fails"
    return "holds" if all(gain.lower > 0 for gain in gains) else "undecided"


_BASELINES = ("real/paper, kept beyond align", "real/paper, kept beyond lower_rate")
_GROUND = ("real/above the most frequent answers", "real/fine_tuning, old tasks lost")

REAL_CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="real-forgets",
        statement="On a real model with pictures, fine-tuning on a new task costs old visual knowledge.",
        paper="Drop of the pre-trained tasks under fine-tuning (its Table 1, LLaVA-1.5 and MiniCPM); not at hand.",
        quantity="Accuracy on style, colour and group of new emoji before less after tuning the last layers on "
        "made-up words; questions of both seeds resampled in pairs.",
        rule="Holds if the loss is 10 points (ours) or more with an interval above 0; fails if the interval ends "
        "below; undecided where the model does not beat the most frequent answers to begin with.",
        decide=_forgets,
        needs=_GROUND,
    ),
    Claim(
        id="real-retains",
        statement="MDGD loses at most a third as much, and learns the new task as well.",
        paper="Less forgetting at equal target accuracy; no figure could be had.",
        quantity="Loss by full projection with alignment, less a third of fine-tuning's, after as many steps; target "
        "accuracy less fine-tuning's.",
        rule="Undecided where fine-tuning is not shown to forget. Holds if the interval ends at 0 or below; fails if "
        "it begins above, or the target's difference ends below -5 points (ours).",
        decide=_real_retains,
        needs=(*_GROUND, "real/paper, lost beyond a third", "real/paper, target beyond fine-tuning"),
    ),
    Claim(
        id="real-drift-follows",
        statement="How far image states drift orders the ways of training by what they forget.",
        paper="The premise of aligning image states; the paper follows the effective rank.",
        quantity="Spearman over five arms between relative drift and accuracy lost; range over seeds.",
        rule="Holds if it is 0.6 (ours) or more in each seed; fails if it is below in each.",
        decide=_orders,
        needs=("real/above the most frequent answers", "real/drift against accuracy lost"),
    ),
    Claim(
        id="real-simple-controls",
        statement="MDGD keeps more than alignment alone and than a fifth of the rate.",
        paper="Beats its baselines; whether these controls are among them could not be seen.",
        quantity="Accuracy on the old tasks after as many steps, less each baseline's, paired over questions.",
        rule="Holds if both intervals lie above 0; fails if one lies at or below.",
        decide=_real_beats,
        needs=("real/above the most frequent answers", *_BASELINES),
    ),
)
