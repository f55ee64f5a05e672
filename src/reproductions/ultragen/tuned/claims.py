"""What UltraGen claims of tuning, judged on the given model and real texts: rules written before the run.

[derived] Quantities, numbers, controls and nulls are ours (the note's where a rule says so). One training with one
seed is judged: intervals are over prompts and say nothing of another training.
"""

from armillary.records.claims import Claim, Control, Rule, above, above_each, at_most, settled
from reproductions.ultragen.claims import CLEAR, LITTLE, gains
from reproductions.ultragen.scale import TUNED_BEST_OF, TUNED_COUNTS

LEARNED = Control(
    what="AR learned: held-out texts behind their prompts cost fewer nats a token than before",
    rule=above("ar/nats below untuned's"),
    otherwise="model too small",
)
PAIRED = Control(what="preferences were made of 20 pairs or more", rule=above("preferences/rows", 19))

_TWICE = 0.02
"""Share of repeated 4-grams within which twice as many are no more: both models may repeat next to nothing."""

_SLOPE = "untuned/slope"
SLOPED = Control(
    what="the untuned model has a slope to lose: its interval excludes 0",
    rule=Rule((_SLOPE,), lambda m: settled(holds=m[_SLOPE].excludes(0), fails=False), {_SLOPE: (0.0,)}),
)
_UNTUNED = "The untuned model on the same prompts and seeds: a tuning that does nothing differs from it by 0."
_AR = "AR by itself, whose samples the preferences are made of: a tuning that does nothing differs from it by 0."


def kept_from_loops(model: str, where: str = "") -> Control:
    """That a gain was not bought with repetition (the note's bound)."""
    return Control(
        what="repeated 4-grams have not doubled, or have by no more than two in a hundred",
        rule=at_most(f"{model}/{where}repeated beyond twice", _TWICE),
    )


def _beside(model: str, where: str = "") -> tuple[str, ...]:
    """What is shown of a model's answers beside its gain."""
    kinds = ("repeated 4-grams", "distinct-1", "distinct-2", "words")
    return tuple(f"{model}/{where}{kind}" for kind in kinds)


def _what_ar_meets(counts: tuple[int, int, int]) -> tuple[Claim, ...]:
    """What AR meets beyond the untuned model, and at what price."""
    _, dense, _ = counts
    many = counts[1:]
    return (
        Claim(
            "tuned-ar-helps",
            "Auto-reconstruction raises the share of many attributes that is met on held-out texts of other packages.",
            f"Share of hard attributes met, AR less untuned, at {many[0]} (mean of {TUNED_BEST_OF} answers) and "
            f"{many[1]} (one).",
            "Holds when both intervals are above 0, fails when one is at or below: any gain is one.",
            above_each([f"ar/beyond untuned, {count}" for count in many]),
            paper="AR improves satisfaction of about 45 attributes (abstract).",
            controls=(LEARNED, kept_from_loops("ar")),
            null=_UNTUNED,
            needs=(
                *(f"{model}/{count} attributes" for count in counts for model in ("untuned", "ar", "gpo")),
                *(f"ar/asked for beyond untuned, {count}" for count in many),
                *_beside("untuned"),
                *_beside("ar"),
                "untuned/nats a token for the reader",
                "ar/nats a token for the reader",
                "gpo/nats a token for the reader",
                "reconstruction/rows",
            ),
        ),
        Claim(
            "tuned-ar-follows",
            "What AR gains is that it does what the prompt asks, not that it writes like such texts (ours).",
            f"By how much own answers meet more than answers to another prompt, AR less untuned, at {dense}.",
            "Holds when the interval is above 0, fails when it is at or below: any gain is one.",
            above(f"ar/follows beyond untuned, {dense}"),
            controls=(LEARNED,),
            null="Each model's answer to the next prompt, judged by this one's attributes: what its way of "
            "writing meets.",
            needs=(
                f"ar/follows beyond untuned, {many[1]}",
                *(
                    f"{model}/{count} attributes, another prompt's answer"
                    for count in many
                    for model in ("untuned", "ar", "gpo")
                ),
            ),
        ),
        Claim(
            "tuned-ar-overlap",
            "The texts of AR are not further from the source.",
            f"Word F1, and greedy matching F1 of token states of a frozen model of another family, AR less untuned, "
            f"at {dense}.",
            "Holds when both intervals are above -1 point, fails when one is at or below: a point counts as nothing.",
            above_each(["ar/overlap beyond untuned", "ar/match beyond untuned"], -LITTLE),
            paper="Satisfaction rises without a loss of F1 or BERTScore (a summary of the paper).",
            controls=(LEARNED,),
            null="The untuned model; how near an answer is to the source of another prompt stands beside.",
            needs=(
                *(f"{model}/overlap with the source" for model in ("untuned", "ar", "gpo")),
                *(f"{model}/match with the source" for model in ("untuned", "ar", "gpo")),
                *(f"{model}/match with another source" for model in ("untuned", "ar")),
            ),
        ),
    )


def _what_ar_changes(counts: tuple[int, int, int]) -> tuple[Claim, ...]:
    """What AR is worth beside sampling, and what it changes within."""
    _, dense, _ = counts
    return (
        Claim(
            "tuned-ar-beats-best-of-4",
            f"One answer of AR meets more than the best of {TUNED_BEST_OF} of the untuned model (ours).",
            f"Share met at {dense}, mean of AR's answers less the untuned model's best, by prompt.",
            "Holds when the interval is above 0, fails when it is at or below: rejection sampling needs no training.",
            above("ar/beyond the best of 4 of untuned"),
            controls=(LEARNED,),
            null=f"The best of {TUNED_BEST_OF} answers of the untuned model, chosen by the checks themselves.",
            needs=(
                "ar/best of 4 beyond untuned's",
                *(f"{model}/{dense} attributes, best of {TUNED_BEST_OF}" for model in ("untuned", "ar", "gpo")),
            ),
        ),
        Claim(
            "tuned-position",
            "After AR it matters less where in the prompt an attribute stands.",
            "Size of the slope of the log-odds over the place, with an effect for each kind, untuned less AR, at both "
            "larger numbers.",
            "Holds when the interval is above 0, fails when it is at or below: any decrease is one.",
            above("ar/smaller slope"),
            paper="AR makes satisfaction stable across positions (a summary of the paper).",
            controls=(LEARNED, SLOPED),
            null=_UNTUNED,
            needs=("ar/slope",),
        ),
        Claim(
            "tuned-attention",
            "After AR the model looks more at an attribute where it writes what that asks for.",
            f"Attention to an attribute where the source realises it over elsewhere, AR less untuned, at {dense}, "
            "on the same held-out texts.",
            "Holds when the interval is above 0, fails when it is at or below: any increase is one.",
            above("ar/selectivity beyond untuned"),
            paper="AR alleviates the dilution of attention (abstract).",
            controls=(LEARNED,),
            null=_UNTUNED,
            needs=(
                *(f"{model}/selectivity" for model in ("untuned", "ar", "gpo")),
                *(f"{model}/attention to an attribute" for model in ("untuned", "ar", "gpo")),
            ),
        ),
    )


def _what_gpo_meets(counts: tuple[int, int, int]) -> tuple[Claim, ...]:
    """What GPO meets beyond AR."""
    _, dense, _ = counts
    return (
        Claim(
            "tuned-gpo-generalises",
            "GPO raises satisfaction on sets whose attributes never stood in one text.",
            f"Share met of {dense} attributes of different held-out texts, GPO less AR, means of {TUNED_BEST_OF}.",
            "Holds when the interval is at 3 points or above, fails when it is below 1: the note's numbers.",
            gains("gpo/global beyond ar", CLEAR, LITTLE),
            paper="GPO generalises to unseen combinations (abstract).",
            controls=(PAIRED, kept_from_loops("gpo", "global, ")),
            null=_AR,
            needs=(
                *(f"{model}/global" for model in ("untuned", "ar", "gpo")),
                *(f"{model}/global, another prompt's answer" for model in ("untuned", "ar", "gpo")),
                "gpo/global follows beyond ar",
                *_beside("ar", "global, "),
                *_beside("gpo", "global, "),
            ),
        ),
        Claim(
            "tuned-gpo-keeps-local",
            "GPO costs nothing on attributes of one text.",
            f"Share met of {dense} attributes of held-out texts, GPO less AR.",
            "Holds when the interval is above -1 point, fails when it is at or below: the note's number.",
            above("gpo/local beyond ar", -LITTLE),
            controls=(PAIRED, kept_from_loops("gpo")),
            null=_AR,
            needs=_beside("gpo"),
        ),
        Claim(
            "tuned-gpo-beats-best-of-4",
            f"One answer of GPO meets more than the best of {TUNED_BEST_OF} of AR (ours).",
            "Share met on the global sets, mean of GPO's answers less AR's best, by set.",
            "Holds when the interval is above 0, fails when it is at or below: sampling costs at use what GPO "
            "costs once.",
            above("gpo/global beyond the best of 4 of ar"),
            controls=(PAIRED,),
            null=f"The best of {TUNED_BEST_OF} answers of AR: as many as its preferences are made of.",
            needs=tuple(f"{model}/global, best of {TUNED_BEST_OF}" for model in ("untuned", "ar", "gpo")),
        ),
    )


def tuned_claims(counts: tuple[int, int, int]) -> tuple[Claim, ...]:
    """The claims where models are asked for these numbers of attributes."""
    return (*_what_ar_meets(counts), *_what_ar_changes(counts), *_what_gpo_meets(counts))


TUNED_CLAIMS = tuned_claims(TUNED_COUNTS)
"""Those of the committed results."""
