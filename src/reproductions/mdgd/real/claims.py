"""What MDGD claims, judged on a given model that was given images: rules written before the run.

[derived] Quantities, numbers, controls and nulls are ours. Few trainings, so intervals are over the emoji asked
about: verdicts are about these trainings, in which direction they go, while the small models carry the statistics.
"""

from armillary.records.claims import Claim, Control, above, above_each, at_most, beyond

SEES, LEARNED, LOST = 0.2, 0.1, 0.1
SAME_TARGET = -0.05
"""Difference of target accuracy down to which two arms have learned as much."""

_SEES = Control(
    what="the model sees: 20 points above the most frequent answers on style, colour and group of new emoji",
    rule=above("real/above the most frequent answers", SEES),
    otherwise="model too small",
)
_LEARNED = Control(
    what="fine-tuning learned the new task: 10 points above the most frequent answer",
    rule=above("real/fine_tuning, target above the most frequent answer", LEARNED),
)
_LOST = Control(what="fine-tuning lost something", rule=above("real/fine_tuning, old tasks lost"))
_FORGETTING = (_SEES, _LEARNED, _LOST)
_SAME_ANSWERS = (
    "0: weights that are not trained answer the same questions alike, and a training that left the old tasks alone "
    "would change as many answers for the better as for the worse; drawn as the interval over emoji."
)


def _as_well(name: str, beside: str, what: str) -> Control:
    return Control(
        what=f"{what}: at most 5 points less", rule=above(f"real/{name}, target beyond {beside}", SAME_TARGET)
    )


REAL_CLAIMS: tuple[Claim, ...] = (
    Claim(
        "real-forgets",
        "On a real model with pictures, fine-tuning on a new task costs old visual knowledge.",
        "Accuracy on style, colour and group of new emoji before less after tuning the last layers on invented words.",
        "Holds when the whole interval is above 10 points (ours: forgetting worth the name, as on the small models); "
        "fails when it is below.",
        above("real/fine_tuning, old tasks lost", LOST),
        paper="Drop of the pre-trained tasks under fine-tuning (its Table 1, LLaVA-1.5 and MiniCPM); not at hand.",
        null=_SAME_ANSWERS,
        controls=(
            _SEES,
            _LEARNED,
        ),
    ),
    Claim(
        "real-retains",
        "MDGD loses at most a third as much, and learns the new task as well.",
        "Loss by full projection with alignment, less a third of fine-tuning's, after as many steps.",
        "Holds when the whole interval is at or below 0 (a third is ours); fails when it is above.",
        at_most("real/paper, lost beyond a third"),
        paper="Less forgetting at equal target accuracy; no figure could be had.",
        null="Two thirds of fine-tuning's loss: what it would be if MDGD lost as much.",
        controls=(
            *_FORGETTING,
            _as_well("paper", "fine-tuning", "MDGD learned the new task as well as fine-tuning"),
        ),
    ),
    Claim(
        "real-projection",
        "Removing the component along the visual drift keeps more by itself than fine-tuning does.",
        "Accuracy on the old tasks after tuning with full projection alone, less fine-tuning's, after as many steps.",
        "Holds when the whole interval is above 0, fails when it is at or below: there projecting is no better "
        "than not.",
        above("real/full, kept beyond fine-tuning"),
        null=_SAME_ANSWERS,
        controls=(
            *_FORGETTING,
            _as_well("full", "fine-tuning", "full projection learned the new task as well as fine-tuning"),
        ),
    ),
    Claim(
        "real-drift-follows",
        "How far image states drift orders the ways of training by what they forget.",
        "Spearman over the arms between relative drift (rows of one length, sinks apart) and accuracy lost, in each "
        "seed.",
        "Holds when every seed's is above what 97.5 % of permuted arms give, fails when none is above what only 2.5 % "
        "stay below: a drawn null in place of a number.",
        beyond("real/drift against accuracy lost", "real/drift against accuracy lost, arms permuted"),
        paper="The premise of aligning image states; the paper follows the effective rank.",
        null="The mean over seeds with the arms of each permuted 500 times.",
        controls=(*_FORGETTING,),
    ),
    Claim(
        "real-simple-controls",
        "MDGD keeps more than alignment alone and than a fifth of the rate.",
        "Accuracy on the old tasks after as many steps, less each baseline's, paired over questions.",
        "Holds when both intervals are above 0, fails when one is at or below.",
        above_each(["real/paper, kept beyond align", "real/paper, kept beyond lower_rate"]),
        paper="Beats its baselines; whether these controls are among them could not be seen.",
        null=_SAME_ANSWERS,
        controls=(
            *_FORGETTING,
            _as_well("align", "paper", "alignment alone learned the new task as well as MDGD"),
            _as_well("lower_rate", "paper", "a fifth of the rate learned the new task as well as MDGD"),
        ),
    ),
)
