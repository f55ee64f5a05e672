"""What MDGD claims, judged on real weights: measures from what the run found, and rules, written before any run.

[derived] Two seeds, so intervals are over questions, pooled over seeds: this shows that the path works on a real model
and in which direction it goes, while the small models carry the statistics. Needs no torch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.experiments.mdgd_measures import drift, rank_change
from armillary.experiments.mdgd_real_scale import ARMS
from armillary.experiments.mdgd_scale import OLD_TASKS, TARGET
from armillary.numerics.intervals import Interval, bootstrap_mean, paired_difference, range_over_seeds
from armillary.runs.claims import Claim, Verdict
from armillary.runs.rules import Measures

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
    for rival in ("align", "lower_rate"):
        out[f"real/paper, kept beyond {rival}"] = paired_difference(
            pooled(seeds, "paper"), pooled(seeds, rival), seed=0
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


def _retains(m: Measures) -> Verdict:
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


def _beats(m: Measures) -> Verdict:
    gains = [m[name] for name in _RIVALS]
    if not _sees(m):
        return "undecided"
    if any(gain.upper <= 0 for gain in gains):
        return "fails"
    return "holds" if all(gain.lower > 0 for gain in gains) else "undecided"


_RIVALS = ("real/paper, kept beyond align", "real/paper, kept beyond lower_rate")
_GROUND = ("real/above the most frequent answers", "real/fine_tuning, old tasks lost")
CLAIMS: tuple[Claim, ...] = (
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
        decide=_retains,
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
        quantity="Accuracy on the old tasks after as many steps, less each rival's, paired over questions.",
        rule="Holds if both intervals lie above 0; fails if one lies at or below.",
        decide=_beats,
        needs=("real/above the most frequent answers", *_RIVALS),
    ),
)
