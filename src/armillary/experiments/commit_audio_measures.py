"""What CoMMIT's runs on sounds amount to, as numbers with intervals. Needs no model."""

from typing import Any

import numpy as np

from armillary.experiments.commit_measures import SHORT, by_arm, late_kappas, over_seeds, relative, speeds
from armillary.experiments.commit_scale import BASELINES, SLOW
from armillary.numerics.intervals import Interval

Found = dict[str, Any]


def audio_measures(found: Found) -> dict[str, Interval]:
    """As of the runs on pictures, with ``audio/`` before each name; all intervals are over seeds."""
    arms = found["arms"]
    out = by_arm(arms) | speeds(arms) | _against(arms) | _balance(arms)
    out["right without sounds"] = Interval(estimate=found["majority"], how="most frequent answers")
    return {f"audio/{name}": value for name, value in out.items()}


def _against(arms: Found) -> dict[str, Interval]:
    """Lift and full CoMMIT over their rivals, and what a slow start costs."""
    out: dict[str, Interval] = {}
    for start in SLOW:
        out[f"harm/{start}"] = over_seeds(relative(arms[start]["constant"], arms["equal"]["constant"]))
        for other in ("matched", "exchanged"):
            out[f"loss/{start}, lift over {other}"] = over_seeds(relative(arms[start]["lift"], arms[start][other]))
    gains = [relative(arms[start]["lift"], arms[start]["matched"]) for start in SLOW]
    out["budget/lift over matched"] = over_seeds(np.mean(gains, axis=0).tolist())
    for rival in BASELINES:
        out[f"loss/equal, full over {rival}"] = over_seeds(relative(arms["equal"]["full"], arms["equal"][rival]))
    return out


def _balance(arms: Found) -> dict[str, Interval]:
    out: dict[str, Interval] = {}
    for start, runs in arms.items():
        for arm, some in runs.items():
            late = late_kappas(some)
            out |= {f"late log kappa/{start}, {arm}": over_seeds(late)} if late else {}
        if "lift" in runs:
            for name, told in SHORT.items():
                means = [run["multipliers"][name] for run in runs["lift"]]
                out[f"mean multiplier of {told}/{start}, lift"] = over_seeds(means)
    return out
