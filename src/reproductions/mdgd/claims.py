"""The claims of MDGD (arXiv 2502.11740) with the rules that decide them at laptop scale, written before the runs.

The statements are the paper's; quantities, thresholds, controls and nulls are ours throughout. The paper's equations
were not at hand, so ``paper`` is the literal reading of its text, and ``recommended`` our signed variant of it.
"""

from armillary.records.claims import Claim, Measures, Rule, Verdict, above, below, every
from reproductions.mdgd.measures import BASELINES

LOST = 0.10
"""Accuracy on the old tasks whose loss is forgetting worth the name, on small models and on the given one."""

TRACKS = 0.6
"""Spearman correlation from which on one quantity tells of another."""

POINT = 0.01
SAME_TARGET = -0.05
"""Difference of target accuracy down to which two arms of the given model have learned as much."""

LEARNED = "before/above the majority answer"
"""The control of most claims: a model that has learned nothing can't forget."""

LEAST_LEARNED = 0.15


def _if_learned(rule: Rule, *, forgets: bool = True) -> Rule:
    """Undecided where there was nothing to forget, or (``forgets``) nothing was forgotten."""

    def decide(m: Measures) -> Verdict:
        if m[LEARNED].lower < LEAST_LEARNED or (forgets and m[_FELL].lower <= 0):
            return "undecided"
        return rule(m)

    return Rule((LEARNED, *([_FELL] if forgets else []), *rule.needs), decide)


def _claim(id: str, statement: str, quantity: str, rule: str, decide: Rule, *needs: str, paper: str = "") -> Claim:
    return Claim(id=id, statement=statement, paper=paper, quantity=quantity, rule=rule, decide=decide, needs=needs)


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
    )


CLAIMS = (
    _claim(
        "forgetting-exists",
        "Fine-tuning on a text-driven target destroys visual skills learned in pre-training.",
        "Points of accuracy on the old tasks that fine-tuning loses.",
        "Holds when the interval is above 10 points, fails when it is below. Undecided where the old tasks were not "
        "learned.",
        _if_learned(above(_FELL, LOST), forgets=False),
        paper="LLaVA-1.5 tuned on Flickr30K: 61.94 to 47.97 on six benchmarks (as quoted by others)",
    ),
    _claim(
        "rank-falls",
        "The effective rank of the image states falls under fine-tuning.",
        "Relative change of the centred effective rank over pictures, mean over all layers but the last.",
        "Holds when the interval is below 0, fails when it is above." + _VOID,
        _if_learned(below("fine-tuning/change of rank")),
    ),
    _claim(
        "rank-tracks-forgetting",
        "The fall of the effective rank tells how much was forgotten.",
        "Spearman correlation over arms of the change of rank and the accuracy kept, mean over seeds; that of the "
        "drift of image states stands beside it.",
        "Holds when the interval is above 0.6, fails when it is below." + _VOID,
        _if_learned(above("ranks/correlation with accuracy kept", TRACKS)),
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
    ),
    _claim(
        "projection-contributes",
        "Removing the component along the visual drift helps by itself.",
        "Accuracy on the old tasks at equal target: projection and alignment minus alignment alone; and projection "
        "alone minus projection along a random direction.",
        "Holds when both intervals are above 0, fails when one is at or below." + _VOID,
        _if_learned(every(above("paper/kept beyond align"), above("full/kept beyond random"))),
    ),
    _claim(
        "signed-projection-contributes",
        "Removing it only where it raises the drift helps by itself (ours).",
        "The same with the signed projection.",
        "Holds when both intervals are above 0, fails when one is at or below." + _VOID,
        _if_learned(every(above("recommended/kept beyond align"), above("conflict/kept beyond random"))),
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
    ),
    Claim(
        id="cost",
        statement="A step of MDGD costs less than two plain ones.",
        quantity="Time of training with MDGD over plain training, with a frozen copy and with cached states, paired.",
        rule="Holds when both are below: 2 with the copy, 1.8 with the cache; fails when one is above.",
        decide=every(below("cost/copy over plain", 2.0), below("cost/cached over plain", 1.8)),
    ),
)
