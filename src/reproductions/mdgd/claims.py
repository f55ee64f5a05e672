"""The claims of MDGD (arXiv 2502.11740) with the rules that decide them at laptop scale, written before the runs.

The statements are the paper's, or ours where they say so; quantities, thresholds, controls and nulls are ours
throughout. The paper's equations were not at hand, so ``paper`` is the literal reading of its text, and ``signed`` our
variant of it.
"""

from collections.abc import Sequence

from armillary.records.claims import (
    Claim,
    Control,
    above,
    above_each,
    at_most,
    below,
    below_each,
    beyond,
    equal,
    no_control,
    short_of,
)
from reproductions.mdgd.measures import FLOOR, SIMPLE

LOST = 0.10
"""Accuracy on the old tasks whose loss is forgetting worth the name, on small models and on the given one."""

TRACKS = 0.6
"""Spearman correlation from which on one quantity tells of another."""

NEARLY = 0.03
"""Points that count as nothing: three, what some 900 questions and four seeds can tell apart."""

SAME_TARGET = -0.05
"""Difference of target accuracy down to which two arms have learned as much."""

# The controls: what must have succeeded before anything can be judged.

OLD_LEARNED = Control(
    what="the old tasks were learned: 15 points above the majority answers",
    rule=above("before/above the majority answer", 0.15),
    otherwise="model too small",
)
SOMETHING_LOST = Control(
    what="something was lost: fine-tuning forgets by the moment at which arms are compared",
    rule=above("fine_tuning/lost at the level"),
)
RAISES_DRIFT = Control(
    what="the task raises the drift: the mean cosine of task and drift gradient in fine-tuning is below 0",
    rule=below("fine_tuning/cosine"),
)


def _learned(*arms: str) -> Control:
    return Control(
        what=f"the target was learned by {' and '.join(arms)}: 10 points above the majority answer",
        rule=above_each([f"{arm}/target above the majority answer" for arm in arms], 0.1),
    )


_NONE = "Arms that keep alike differ by 0; the spread over seeds of that difference is the interval."
_RANDOM = "Taking out a random direction of the same norm in each tensor: the arm that it is compared with."
_CONTINUED = "Going on with the old tasks for as many steps at the same rate: their measure stands beside."
_AT_LEVEL = "at equal accuracy on the target (nine tenths of the lower plateau)"


def _keeps(
    id: str,
    statement: str,
    arm: str,
    others: Sequence[str],
    *needs: str,
    controls: Sequence[Control] = (),
    null: str = _NONE,
) -> Claim:
    """An arm keeps more than each of these does."""
    against = "each of these" if len(others) > 1 else "0"
    return Claim(
        id,
        statement,
        f"Accuracy on the old tasks minus that of {', '.join(others)}, {_AT_LEVEL}.",
        f"Holds when the interval is above 0{' for each' if len(others) > 1 else ''}, fails when it is at or below "
        f"{against}: more is more, however little.".replace("below each of these", "below 0 for one"),
        above_each([f"{arm}/kept beyond {other}" for other in others]),
        controls=(OLD_LEARNED, _learned(arm, *others), SOMETHING_LOST, *controls),
        null=null,
        needs=needs,
    )


def _retains(arm: str, id: str, what: str) -> Claim:
    return Claim(
        id,
        f"{what} keeps the old skills that fine-tuning loses, at equal accuracy on the new task.",
        f"Loss on the old tasks minus a third of fine-tuning's, {_AT_LEVEL}.",
        "Holds when the interval ends at or below 0, fails when it begins above: a third of the loss is what the "
        "specification asks for.",
        at_most(f"{arm}/lost beyond a third of fine_tuning's"),
        controls=(OLD_LEARNED, _learned("fine_tuning", arm), SOMETHING_LOST),
        null="Plain fine-tuning loses two thirds more than a third of its loss.",
        paper="best averages on LLaVA-1.5 and MiniCPM-V-2.0; no table at hand" if arm == "paper" else "",
        needs=(f"{arm}/kept beyond fine_tuning",),
    )


# The default preset follows from these, as was settled before the run: of fine-tuning, no task gradient through image
# tokens, alignment, signed and full projection with alignment, it is the first that holds its claim to retain; a later
# one only where it is shown to keep more than that. Where none holds it is the first that keeps more than fine-tuning.
_FINE_TUNED = (OLD_LEARNED, _learned("fine_tuning"))
_PAPER, _SIGNED = "MDGD", "MDGD with the signed projection (ours)"

CLAIMS = (
    Claim(
        "forgetting-exists",
        "Fine-tuning on a text-driven target destroys visual skills learned in pre-training.",
        "Points of accuracy on the old tasks that fine-tuning loses by its end, at the rate at which the pilot seed "
        "learned the target best.",
        "Holds when the interval is above 10 points, fails when it is all below: the specification's threshold for "
        "forgetting worth the name.",
        above("fine_tuning/old tasks lost", LOST),
        controls=_FINE_TUNED,
        null=_CONTINUED,
        paper="LLaVA-1.5 tuned on Flickr30K: 61.94 to 47.97 on six benchmarks (as quoted by others)",
        needs=("old_tasks/old tasks lost",),
    ),
    Claim(
        "visual-forgetting",
        "Image states become less legible to the model as it was (ours): what is forgotten is partly sight.",
        "Points that the pre-trained reader loses on the fine-tuned model's image states (a graft, exact).",
        "Holds when the interval begins above the end of the null's, fails when it ends below the null's beginning.",
        beyond("fine_tuning/visual forgetting", "old_tasks/visual forgetting"),
        controls=_FINE_TUNED,
        null=_CONTINUED,
        needs=("fine_tuning/read-outs lost",),
    ),
    Claim(
        "answer-forgetting",
        "The way of answering is forgotten although the images are seen as before (ours).",
        "Points that the fine-tuned reader loses on the pre-trained model's image states (a graft, exact).",
        "Holds when the interval begins above the end of the null's, fails when it ends below the null's beginning.",
        beyond("fine_tuning/answer forgetting", "old_tasks/answer forgetting"),
        controls=_FINE_TUNED,
        null=_CONTINUED,
    ),
    Claim(
        "mostly-visual",
        "What fine-tuning forgets is sight more than a way of answering.",
        "Points lost by the old reader with new eyes minus points lost by the new reader with old eyes.",
        "Holds when the interval is above 0, fails when it is at or below.",
        above("fine_tuning/visual beyond answer forgetting"),
        controls=(*_FINE_TUNED, SOMETHING_LOST),
        null="Losses of one size differ by 0.",
        needs=(
            "fine_tuning/visual forgetting",
            "fine_tuning/answer forgetting",
        ),
    ),
    Claim(
        "rank-falls",
        "The effective rank of the image states falls under fine-tuning.",
        "Relative change of the centred effective rank over images, rows of unit root mean square, mean over all "
        "layers but the last.",
        "Holds when the interval ends below the beginning of the null's, fails when it begins above the null's end.",
        short_of("fine_tuning/change of rank", "old_tasks/change of rank"),
        controls=_FINE_TUNED,
        null=_CONTINUED,
    ),
    Claim(
        "rank-tracks-forgetting",
        "The fall of the effective rank tells how much was forgotten.",
        "Spearman correlation over arms of the change of rank and the accuracy kept, mean over seeds; that of the "
        "drift of image states stands beside it.",
        "Holds when the interval is above 0.6, fails when it is all below: the specification's number.",
        above("ranks/correlation with accuracy kept", TRACKS),
        controls=(*_FINE_TUNED, SOMETHING_LOST),
        null="The arms of each seed permuted: that interval stands beside.",
        needs=(
            "ranks/correlation with arms permuted",
            "drift/correlation with accuracy lost",
        ),
    ),
    Claim(
        "rank-kept",
        "MDGD keeps the effective rank that fine-tuning loses.",
        "Change of rank under MDGD minus that under fine-tuning, at their ends.",
        "Holds when the interval is above 0, fails when it is at or below.",
        above("paper/rank kept beyond fine_tuning"),
        controls=(
            *_FINE_TUNED,
            Control(what="the rank falls under fine-tuning", rule=below("fine_tuning/change of rank")),
        ),
        null=_NONE,
    ),
    _retains("paper", "retains", _PAPER),
    _retains("signed", "signed-retains", _SIGNED),
    _retains("align", "align-retains", "Alignment alone (ours)"),
    _retains("text_gradient", "text-gradient-retains", "Letting no task gradient through image positions (ours)"),
    Claim(
        "keeps-sight",
        "What MDGD keeps beyond fine-tuning is sight.",
        f"Accuracy of the pre-trained reader on the old tasks from MDGD's image states minus that from fine-tuning's, "
        f"{_AT_LEVEL}.",
        "Holds when the interval is above 0, fails when it is at or below.",
        above("paper/sight kept beyond fine_tuning"),
        controls=(
            OLD_LEARNED,
            _learned("fine_tuning", "paper"),
            Control(what="sight was lost by fine-tuning", rule=above("fine_tuning/visual forgetting")),
        ),
        null=_NONE,
    ),
    _keeps(
        "projection-alone",
        "Removing the component along the visual drift helps by itself.",
        "full",
        ["random"],
        "full/kept beyond fine_tuning",
        "random/kept beyond fine_tuning",
        controls=(RAISES_DRIFT,),
        null=_RANDOM,
    ),
    _keeps(
        "projection-beside-alignment",
        "Removing it adds to what alignment keeps.",
        "paper",
        ["align"],
        controls=(RAISES_DRIFT,),
        null="Alignment alone: the arm that it is compared with.",
    ),
    _keeps(
        "signed-projection-alone",
        "Removing it only where it raises the drift helps by itself (ours).",
        "conflict",
        ["random"],
        "conflict/kept beyond fine_tuning",
        controls=(RAISES_DRIFT,),
        null=_RANDOM,
    ),
    _keeps(
        "signed-projection-beside-alignment",
        "Removing it only where it raises the drift adds to what alignment keeps (ours).",
        "signed",
        ["align"],
        controls=(RAISES_DRIFT,),
        null="Alignment alone: the arm that it is compared with.",
    ),
    Claim(
        "sign-is-nothing",
        "Where the task raises the drift, full and signed projection keep alike (ours).",
        f"Accuracy on the old tasks by signed projection minus that by full, neither with alignment, {_AT_LEVEL}.",
        "Holds when the interval lies within 3 points of 0, fails when it lies all beyond: three points are what the "
        "questions and seeds can tell.",
        equal("conflict/kept beyond full", NEARLY),
        controls=(OLD_LEARNED, _learned("full", "conflict"), SOMETHING_LOST, RAISES_DRIFT),
        null=_NONE,
    ),
    Claim(
        "projection-at-the-lowest-rate",
        "At the lowest rate of the sweep full projection helps by itself.",
        "Accuracy on the old tasks by full projection minus that by plain fine-tuning, both at the lowest rate.",
        "Holds when the interval is above 0, fails when it is at or below: more is more, however little.",
        above("full at the lowest rate/kept beyond fine_tuning"),
        controls=(
            OLD_LEARNED,
            Control(
                what="the task raises the drift there: the mean cosine in fine-tuning is below 0",
                rule=below("fine_tuning at the lowest rate/cosine"),
            ),
            Control(what="something was lost there", rule=above("fine_tuning at the lowest rate/old tasks lost")),
        ),
        null="Plain fine-tuning at that rate: the arm that it is compared with.",
        needs=("conflict at the lowest rate/kept beyond fine_tuning",),
    ),
    Claim(
        "harms-at-the-peak-rate",
        "At the peak rate of its own pre-training, where the task itself lowers the drift, full projection forgets "
        "more (ours: why an earlier record said that it fails).",
        "Accuracy on the old tasks by full projection minus that by plain fine-tuning, both at the highest rate.",
        "Holds when the interval is below 0, fails when it is at or above.",
        below("full at the highest rate/kept beyond fine_tuning"),
        controls=(
            OLD_LEARNED,
            Control(
                what="the task lowers the drift there: the mean cosine in fine-tuning is above 0",
                rule=above("fine_tuning at the highest rate/cosine"),
            ),
            Control(what="something was lost there", rule=above("fine_tuning at the highest rate/old tasks lost")),
        ),
        null="Plain fine-tuning at that rate: the arm that it is compared with.",
    ),
    Claim(
        "masking",
        "Updating a tenth of the entries (MDGD-GM) keeps nearly as much as MDGD.",
        f"Accuracy on the old tasks minus MDGD's, {_AT_LEVEL}.",
        "Holds when the interval is above -3 points, fails when it is all at or below: three points are what the "
        "questions and seeds can tell; the specification's one point is within their error.",
        above("masked/kept beyond paper", -NEARLY),
        controls=(OLD_LEARNED, _learned("masked", "paper"), SOMETHING_LOST),
        null=_NONE,
    ),
    Claim(
        "masking-learns",
        "Updating a tenth of the entries learns the target nearly as well as MDGD.",
        "Accuracy on the target over the last evaluations minus MDGD's.",
        "Holds when the interval is above -5 points, fails when it is all at or below: five points are what some "
        "300 questions and four seeds can tell.",
        above("masked/target beyond paper", SAME_TARGET),
        controls=(OLD_LEARNED, _learned("paper")),
        null=_NONE,
    ),
    _keeps(
        "masking-choice",
        "The chosen tenth of the entries keeps more than a random tenth.",
        "masked",
        ["random_mask"],
        null="A random tenth: the arm that it is compared with.",
    ),
    _keeps(
        "masking-beats-lora", "The chosen tenth of the entries keeps more than LoRA of rank 4.", "masked", ["lora"]
    ),
    _keeps("beats-simple-controls", "MDGD keeps more than simple ways of forgetting less do.", "paper", SIMPLE),
    _keeps("signed-beats-simple-controls", f"{_SIGNED} keeps more than these do.", "signed", SIMPLE),
    _keeps("align-beats-simple-controls", "Alignment alone (ours) keeps more than these do.", "align", SIMPLE),
    _keeps(
        "beats-floor",
        "MDGD keeps more than keeping the task's gradient off image states does (ours).",
        "paper",
        FLOOR,
    ),
    _keeps(
        "align-beats-floor",
        "Alignment alone keeps more than keeping the task's gradient off image states does (ours).",
        "align",
        FLOOR,
    ),
    _keeps("beats-osf", "MDGD keeps more than orthogonal subspace fine-tuning (PEFT's OSF) does.", "paper", ["osf"]),
    Claim(
        "cost",
        "A step of MDGD costs less than two plain ones.",
        "Time of training with MDGD over plain training, with a frozen copy and with cached states, paired; that with "
        "no gradient through image positions stands beside.",
        "Holds when the interval is below 2 for both, fails when it is at or above for one.",
        below_each(["cost/copy over plain", "cost/cached over plain"], 2.0),
        controls=no_control("a time is what it is, whatever was learned"),
        null="Plain steps, timed by turns in the same process: 1.",
        needs=("cost/text_gradient over plain",),
    ),
)
