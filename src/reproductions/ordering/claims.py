"""The claims on data order (arXiv 2411.00863) with the rules that decide them, written before the runs.

The statements are the paper's (abstract, both versions; its tables could not be read) or ours where they say so.
Worlds, quantities, thresholds, controls and nulls are ours throughout.
"""

from itertools import pairwise

from armillary.records.claims import Claim, Control, Rule, above, above_each, at_most, below, equal, settled
from reproductions.ordering.scale import (
    ANSWERS_FIRST,
    CLEAR,
    DOSES,
    HIGH,
    LADDER,
    LITTLE,
    LOW,
    NULL,
    REARRANGED,
    SAMPLES,
    SEQ,
    SEQ_ADDRESSED,
    SHUFFLED,
    STATELESS,
)


def between(name: str, low: float, high: float) -> Rule:
    """Holds where the mean lies between the two: it says whether a comparison has power, not what it shows."""
    return Rule(
        (name,),
        lambda m: settled(
            holds=low <= m[name].estimate <= high and m[name].upper - m[name].lower <= 1,
            fails=m[name].upper < low or m[name].lower > high,
        ),
        {name: (low, high)},
    )


def at_least(name: str, clear: float, little: float) -> Rule:
    """Holds where the estimate reaches ``clear`` and the interval excludes 0, fails where all of it is below
    ``little``."""
    return Rule(
        (name,),
        lambda m: settled(holds=m[name].estimate >= clear and m[name].lower > 0, fails=m[name].upper < little),
        {name: (clear, little, 0.0)},
    )


def in_band(order: str) -> Control:
    """That the sequential order was learned, and not all of it."""
    return Control(
        what=f"{order} solves between {LOW:.0%} and {HIGH:.0%} where orders are compared",
        rule=between(f"{order}/success", LOW, HIGH),
        otherwise="model too small",
    )


JUDGE = Control(what="solutions are judged right in every order", rule=above("oracle/success", 0.999))
CHANCE = Control(
    what="a model of shuffled prompts solves less than 10 %", rule=below(f"{NULL}/success at the end", 0.1)
)
READ = Control(
    what="seq proves more than twice what a model of shuffled prompts does: some short proofs fit many theorems",
    rule=above("seq beyond twice the null"),
)
LEARNED = Control(
    what=f"seq solves {LOW:.0%} or more at the end, where surprise is measured",
    rule=above(f"{SEQ}/success at the end", LOW),
    otherwise="model too small",
)
_NULL = "A model of seq that learned each solution behind another prompt; one text for all problems."
_PAIRED = "paired by problem, the furthest ends of the seeds' bootstraps"

LOGIC_CLAIMS: tuple[Claim, ...] = (
    Claim(
        "order-matters",
        "The order of the steps within proofs changes how many theorems a model proves.",
        f"Share proved under seq less that under the worst of {', '.join(REARRANGED)} (the same tokens), {_PAIRED}, "
        "corrected for four orders.",
        "Holds when the gap is 5 points or more and above 0 in every seed, fails when it is all below 2: the note's.",
        at_least("seq beyond the worst order", CLEAR, LITTLE),
        paper="11 % between the best and the worst order (abstract).",
        controls=(in_band(SEQ), JUDGE, READ),
        null=_NULL,
        needs=(
            *(f"{order}/success" for order in (SEQ, *REARRANGED)),
            f"{NULL}/success at the end",
            "constant/success",
        ),
    ),
    Claim(
        "seq-best",
        "The intuitively sequential order is the best.",
        f"Share proved under seq less that under each other order of the same tokens, {_PAIRED}, corrected for four.",
        "Holds when each interval is above -2 points (a tie is allowed), fails when one is at or below: another order "
        "is better.",
        above_each([f"seq beyond {order}" for order in REARRANGED], -LITTLE),
        paper="Sequential order is optimal (abstract).",
        controls=(in_band(SEQ), JUDGE, READ),
        null=_NULL,
        needs=tuple(f"{order}/one of {SAMPLES} draws" for order in (SEQ, *REARRANGED)),
    ),
    Claim(
        "any-extension",
        "Any order with every support on its left does as well (ours): breadth first as depth first.",
        "Share proved under seq@ less that under bfs, bootstrap over seeds and problems.",
        "Holds when the interval is within 5 points of 0, fails when it is beyond: the least gap that counts as one.",
        equal("seq@ beyond bfs", CLEAR),
        controls=(in_band(SEQ_ADDRESSED), JUDGE),
        null="The random order of the same lines, whose difference stands beside.",
        needs=("bfs/success", "seq@ beyond random", "bfs/vf", "random/vf"),
    ),
    Claim(
        "logical-worse",
        "The purely logical order, in which proofs are verified, is worse than the sequential one.",
        f"Share proved under seq less that under logical, {_PAIRED}, corrected for four orders.",
        "Holds when the interval is above 0, fails when it is at or below: any loss is one.",
        above("seq beyond logical"),
        paper="Published proofs follow a logical order that is not optimal for learning (abstract).",
        controls=(in_band(SEQ), JUDGE, READ),
        null=_NULL,
        needs=("seq/success", "logical/success", "logical/vf"),
    ),
    Claim(
        "dose-response",
        "The more supports stand to the right, the fewer theorems are proved (ours).",
        "Spearman's correlation of success with VF over five levels of displacement, range over seeds.",
        "Holds when it is -0.9 or less in every seed, fails when it is above in every seed: the note's.",
        at_most("dose/spearman", -0.9),
        controls=(in_band(SEQ_ADDRESSED), JUDGE),
        null="Without an effect of order the five levels rank at random: -0.9 or less in 1 of 24 seeds.",
        needs=(
            *(f"{dose}/success" for dose in DOSES),
            *(f"{dose}/vf" for dose in DOSES),
            "dose/lost from the least to the most",
        ),
    ),
    Claim(
        "surplus-on-the-unsupported",
        "A step whose support stands to its right is predicted worse, and the surplus sits there.",
        "Nats a token of actions, given the right text to the left, more than under seq; and more than the states' "
        f"surplus. Orders that put states behind actions, {_PAIRED}.",
        "Holds when all four intervals are above 0, fails when one is at or below.",
        above_each(
            [
                f"{order}/surplus of action{beyond}"
                for order in ("action_first", "actions_then_states")
                for beyond in ("", " beyond the rest")
            ]
        ),
        paper="Cause 1: training does not look forward (introduction, by a summary).",
        controls=(LEARNED,),
        null="The states of the same proofs, whose supports stand to the left in these orders too.",
        needs=tuple(f"{order}/surplus of the rest" for order in ("action_first", "actions_then_states")),
    ),
    Claim(
        "gap-shrinks",
        "More training makes the gap between orders smaller, and does not close it (ours).",
        f"Gap between seq and the worst order at its widest less that at the end, and the gap at the end; {_PAIRED}.",
        "Holds when both intervals are above 0, fails when one is at or below.",
        above_each(["gap/shrunk by", "gap/at the end"]),
        controls=(
            Control(
                what="seq has come to 90 % by the end: before that a gap has not had its time",
                rule=above("seq/success at the end", 0.9),
                otherwise="model too small",
            ),
        ),
        null="A gap that does not change has 0; the reading at which it is widest is chosen on the mean over seeds.",
        needs=("gap/widest",),
    ),
    Claim(
        "right-states-hurt",
        "States to the right of the actions that they motivate do more harm than no states (ours).",
        f"Share proved under {STATELESS} less that under action_first and actions_then_states, {_PAIRED}, corrected "
        "for two.",
        "Holds when both intervals are above 0, fails when one is at or below.",
        above_each([f"{STATELESS} beyond {order}" for order in ("action_first", "actions_then_states")]),
        controls=(in_band(SEQ), JUDGE),
        null=_NULL,
        needs=tuple(f"{order}/success" for order in (STATELESS, "action_first", "actions_then_states")),
    ),
    Claim(
        "left-states-help",
        "States to the left of the actions that they motivate help (ours).",
        f"Share proved under seq less that under {STATELESS}, {_PAIRED}.",
        "Holds when the interval is above 0, fails when it is at or below.",
        above(f"seq beyond {STATELESS}"),
        controls=(in_band(SEQ), JUDGE),
        null="The same proofs without states: fewer tokens, the same steps of training.",
        needs=(
            "seq/success",
            f"{STATELESS}/success",
            "seq/success at the end",
            "seq/success at the end with true states",
            "seq/gained by true states",
        ),
    ),
)

MULTIPLICATION_CLAIMS: tuple[Claim, ...] = (
    Claim(
        "order-ladder",
        "Multiplication is learned better the fewer digits stand left of what they are found from.",
        f"Share of right products, each of {', '.join(LADDER)} less the next, {_PAIRED}.",
        "Holds when all four intervals are above 0, fails when one is at or below: the note's ladder.",
        above_each([f"{better} beyond {poorer}" for better, poorer in pairwise(LADDER)]),
        paper="The effect of order is seen in digit multiplication as well (abstract).",
        controls=(in_band(SEQ), JUDGE, CHANCE),
        null=_NULL,
        needs=(*(f"{order}/success" for order in LADDER), *(f"{order}/vf" for order in LADDER[:-1])),
    ),
    Claim(
        "products-before-sums",
        "Any order with every support on its left does as well (ours): all products first, then all sums.",
        "Share of right products under seq less that under parts_then_sums, bootstrap over seeds and problems.",
        "Holds when the interval is within 5 points of 0, fails when it is beyond.",
        equal("seq beyond parts_then_sums, over seeds and problems", CLEAR),
        controls=(in_band(SEQ), JUDGE),
        null="sumfirst, a permutation of the same tokens with supports to the right.",
        needs=("parts_then_sums/success", "sumfirst/success", "seq beyond sumfirst", "parts_then_sums/vf"),
    ),
    Claim(
        "shuffled-worse",
        "A random order of labelled blocks is worse than the sequential one.",
        f"Share of right products under seq@ less that under {SHUFFLED}, {_PAIRED}.",
        "Holds when the interval is above 0, fails when it is at or below.",
        above(f"seq@ beyond {SHUFFLED}"),
        controls=(in_band(SEQ_ADDRESSED), JUDGE),
        null=_NULL,
        needs=("seq@/success", f"{SHUFFLED}/success", f"{SHUFFLED}/vf"),
    ),
    Claim(
        "surplus-on-sums",
        "A number whose support stands to its right is predicted worse, and the surplus sits there.",
        f"Nats a digit of sums under sumfirst more than under seq, and more than the products' surplus, {_PAIRED}.",
        "Holds when both intervals are above 0, fails when one is at or below.",
        above_each(["sumfirst/surplus of sum", "sumfirst/surplus of sum beyond the rest"]),
        paper="Cause 1: training does not look forward (introduction, by a summary).",
        controls=(LEARNED,),
        null="The products of the same text, whose supports stand to the left in both orders.",
        needs=("sumfirst/surplus of the rest",),
    ),
    Claim(
        "post-hoc",
        "Where answers stand first, what follows justifies them, right or wrong.",
        "Of products written behind a sum that was made wrong that agree with it or with the truth, the share that "
        "agree with the wrong sum; range over seeds.",
        "Holds when it is above one half in every seed for each order with sums first and below 0.1 under seq, fails "
        "when one of these is so in no seed: the note's one half, and a tenth for about 0.",
        Rule(
            tuple(f"{order}/post hoc" for order in (SEQ, *ANSWERS_FIRST)),
            lambda m: settled(
                holds=all(m[f"{o}/post hoc"].lower > 0.5 for o in ANSWERS_FIRST) and m["seq/post hoc"].upper < 0.1,
                fails=any(m[f"{o}/post hoc"].upper <= 0.5 for o in ANSWERS_FIRST) or m["seq/post hoc"].lower >= 0.1,
            ),
            {"seq/post hoc": (0.1,), **{f"{order}/post hoc": (0.5,) for order in ANSWERS_FIRST}},
        ),
        paper="Cause 2: spurious dependencies are learned from a bad order (introduction, by a summary).",
        controls=tuple(
            Control(
                what=f"a fifth or more of the products of {order} agree with either",
                rule=above(f"{order}/agrees with either", 0.2),
            )
            for order in (SEQ, *ANSWERS_FIRST)
        ),
        null="seq, whose products stand before their sums: an index near 0.",
    ),
    Claim(
        "gap-shrinks-multiplication",
        "More training makes the gap between orders smaller, and does not close it (ours).",
        "Trained longer: the gap between seq and sumfirst at its widest less that at the end, and the gap at the end; "
        f"{_PAIRED}.",
        "Holds when both intervals are above 0, fails when one is at or below.",
        above_each(["gap/shrunk by", "gap/at the end"]),
        controls=(
            Control(
                what="seq has come to 90 % by the end: before that a gap has not had its time",
                rule=above("seq/success after longer training", 0.9),
                otherwise="model too small",
            ),
        ),
        null="A gap that does not change has 0; the reading at which it is widest is chosen on the mean over seeds.",
        needs=("gap/widest", "sumfirst/success after longer training"),
    ),
)
