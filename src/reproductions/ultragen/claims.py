"""The claims of UltraGen (arXiv 2502.12375) with the rules that decide them in a toy world, written before the runs.

The statements are the paper's (abstract and released code; no table of its results was at hand, so no figure of it
stands here), or ours where they say so. Quantities, thresholds, controls and nulls are ours throughout.
"""

from armillary.records.claims import Claim, Control, Rule, above, above_each, no_control, settled
from reproductions.ultragen.scale import BEST_OF, DENSE, FEW, GLOBAL_COUNT, MOST

CLEAR, LITTLE = 0.03, 0.01
"""Points that the note asks a gain for, and those that count as nothing: what 200 sets of 16 attributes can tell."""

FOUND = 0.8
"""Precision and recall that the note asks a detection for."""

FEW_LEARNED = Control(
    what=f"the reference model learned what it was shown: at {FEW} attributes 5 points above another set's text",
    rule=above("few/beyond another set's text", 0.05),
    otherwise="model too small",
)
AR_LEARNED = Control(
    what=f"AR learned: at {MOST} attributes above the reference model",
    rule=above(f"ar/hard beyond few, {MOST}"),
    otherwise="model too small",
)
HURTS = Control(what="the false attributes cost something", rule=above("noise/lost by false attributes"))
_SAME_STEPS = "The reference model: the same weights, trained as many steps further on at most five attributes."
_AR = "AR by itself, whose samples the preferences are made of: a tuning that does nothing differs from it by 0."


def gains(name: str, least: float, nothing: float) -> Rule:
    """Holds where every seed gains at least ``least``, fails where all gain less than ``nothing``."""
    return Rule(
        (name,),
        lambda m: settled(holds=m[name].lower >= least, fails=m[name].upper < nothing),
        {name: (least, nothing)},
    )


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "degrades",
        "A model that has seen prompts of few attributes satisfies a smaller share of many.",
        f"Share of hard attributes met at {FEW} less that at {MOST}, nested sets of the same texts, one answer.",
        "Holds when the interval is above 0, fails when it is at or below: any fall is one.",
        above(f"few/fall from {FEW} to {MOST}"),
        paper="Prior methods handle three to five attributes and degrade beyond (abstract).",
        controls=(FEW_LEARNED,),
        null="The text of another set, asked for 5 and for 24 attributes alike: its share stands beside.",
        needs=(
            f"few/fall from {FEW} to {MOST}, without what forbids",
            f"few/{FEW} attributes",
            f"few/{MOST} attributes",
            f"another set's text/{FEW} attributes",
            f"another set's text/{MOST} attributes",
        ),
    ),
    Claim(
        "ar-helps",
        "Auto-reconstruction raises the share of many attributes that is met on unseen texts.",
        f"Share of hard attributes met by AR less the reference model's, at {DENSE} and at {MOST}, paired.",
        "Holds when both intervals are above 0, fails when one is at or below: any gain is one.",
        above_each([f"ar/hard beyond few, {DENSE}", f"ar/hard beyond few, {MOST}"]),
        paper="AR improves satisfaction of about 45 attributes (abstract).",
        controls=(FEW_LEARNED,),
        null=_SAME_STEPS,
        needs=(f"ar/{DENSE} attributes", f"ar/{MOST} attributes", f"few/{DENSE} attributes", f"few/{MOST} attributes"),
    ),
    Claim(
        "ar-keeps-quality",
        "The texts of AR are not further from the source.",
        f"F1 of words with the source text at {DENSE} attributes, AR less the reference model.",
        "Holds when the interval is above -1 point, fails when it is at or below: a point is what counts as nothing.",
        above("ar/overlap beyond few", -LITTLE),
        paper="Satisfaction rises without a loss of F1 or BERTScore (a summary of the paper).",
        controls=(FEW_LEARNED, AR_LEARNED),
        null=_SAME_STEPS,
        needs=(
            "ar/overlap with the source",
            "few/overlap with the source",
            "ar/repeated 4-grams",
            "few/repeated 4-grams",
        ),
    ),
    Claim(
        "ar-beats-best-of-8",
        f"One answer of AR meets more than the best of {BEST_OF} of the reference model (ours).",
        f"Share met by one answer of AR less that of the best of {BEST_OF}, at {DENSE} and at {MOST}.",
        "Holds when both intervals are above 0, fails when one is at or below: rejection sampling needs no training.",
        above_each([f"ar/beyond the best of 8 of few, {count}" for count in (DENSE, MOST)]),
        controls=(FEW_LEARNED, AR_LEARNED),
        null=f"The best of {BEST_OF} answers of the reference model, chosen by the oracles.",
        needs=(f"few/best of 8, {DENSE}", f"few/best of 8, {MOST}", f"ar/best of 8, {DENSE}", f"ar/best of 8, {MOST}"),
    ),
    Claim(
        "ar-position",
        "AR makes satisfaction depend less on the place of an attribute in the prompt.",
        f"|slope| of the log-odds over the place (logistic, an effect a kind) at {MOST} attributes, the reference "
        "model's less AR's.",
        "Holds when it shrinks in every seed, fails when in none: the note's rule.",
        above("position/smaller slope by ar"),
        paper="Prior models neglect attributes by position; AR alleviates it (abstract).",
        controls=(
            FEW_LEARNED,
            Control(
                what="the reference model has a bias: in every seed its slope's interval excludes 0",
                rule=above("position/few, size of the slope, surely"),
            ),
        ),
        null="Verdicts of an answer dealt to random places: the range of fifths that 95 % of them stay below.",
        needs=(
            "position/few, slope",
            "position/ar, slope",
            "position/smaller range by ar",
            "position/few, range",
            "position/ar, range",
            "position/few, range by chance",
            "position/ar, range by chance",
        ),
    ),
    Claim(
        "ar-attention",
        "AR looks at an attribute more where the attribute is realised.",
        f"Selectivity at {MOST} attributes with the source as the answer: attention on a word to include where it "
        "is said, over attention elsewhere; AR's over the reference model's, less 1.",
        "Holds when it grows in every seed, fails when in none: the note's rule.",
        above("ar/selectivity over few's"),
        paper="AR alleviates attention dilution (abstract).",
        controls=(FEW_LEARNED, AR_LEARNED),
        null="Random weights, whose selectivity stands beside, and the reference model.",
        needs=(
            "few/selectivity",
            "ar/selectivity",
            "untrained/selectivity",
            "few/attention to an attribute",
            "ar/attention to an attribute",
        ),
    ),
    Claim(
        "gpo-generalises",
        "GPO raises satisfaction on sets whose attributes never stood in one text.",
        f"Share of {GLOBAL_COUNT} attributes met on held-out global sets, GPO less AR.",
        "Holds when every seed gains 3 points, fails when all gain less than 1: the note's numbers.",
        gains("gpo/global beyond ar", CLEAR, LITTLE),
        paper="GPO generalises to unseen combinations (abstract).",
        controls=(AR_LEARNED,),
        null=_AR,
        needs=(
            "gpo/global hclr",
            "ar/global hclr",
            "chosen/global beyond ar",
            "ar/global hclr, best of 8",
            "pairs/hclr, kept",
            "gpo/repeated 4-grams",
            "ar/repeated 4-grams",
        ),
    ),
    Claim(
        "gpo-keeps-local",
        "GPO costs nothing on attributes of one text.",
        f"Share of {DENSE} attributes met on sets of held-out texts, GPO less AR.",
        "Holds when every seed lies above -1 point, fails when all lie at or below: the note's number.",
        above("gpo/local beyond ar", -LITTLE),
        controls=(AR_LEARNED,),
        null=_AR,
        needs=(f"gpo/{DENSE} attributes", f"ar/{DENSE} attributes"),
    ),
    Claim(
        "gpo-beats-best-of-8",
        f"One answer of GPO meets more than the best of {BEST_OF} of AR (ours).",
        f"Share of {GLOBAL_COUNT} attributes met on held-out global sets, one answer less the best of {BEST_OF}.",
        "Holds when the interval is above 0, fails when it is at or below: sampling costs at use what GPO costs once.",
        above("gpo/global beyond the best of 8 of ar"),
        controls=(AR_LEARNED,),
        null=f"The best of {BEST_OF} answers of AR, chosen by the oracles: as many as its preferences are made of.",
        needs=("gpo/global hclr", "ar/global hclr, best of 8", "gpo/global hclr, best of 8"),
    ),
    Claim(
        "preference-beyond-chosen",
        "What GPO gains is more than reconstruction of the better answers gives (ours).",
        "Share met on held-out global sets: DPO on the pairs less training on their chosen answers alone.",
        "Holds when every seed is above 0, fails when all are at or below: more is more.",
        above("gpo/global beyond chosen"),
        controls=(AR_LEARNED,),
        null="Training on the chosen answers for as many steps at the same rate.",
        needs=("gpo/global beyond ar", "chosen/global beyond ar"),
    ),
    Claim(
        "sampling-matters",
        "Sets of high correlation and low similarity make better preferences than random ones.",
        "Share met on held-out global sets, half of either kind, by GPO on correlated sets less by GPO on random.",
        "Holds when the 80 % interval over seeds is above 0 (the note's one-sided p below 0.1), fails at or below.",
        above("gpo/global of both kinds beyond gpo_random"),
        paper="Global sets are chosen by correlation and diversity (abstract, released code).",
        controls=(AR_LEARNED,),
        null="Sets of the same sizes, quotas and freedom from conflicts, drawn at random.",
        needs=(
            "gpo/global beyond ar",
            "gpo_random/global beyond ar",
            "gpo/global random beyond ar",
            "gpo_random/global random beyond ar",
            "pairs/hclr, kept",
            "pairs/random, kept",
        ),
    ),
    Claim(
        "false-attributes-hurt",
        "False attributes in the training sets cost AR a part of its gain.",
        "Share of hard attributes met (mean of 16 and 24), AR less AR on sets of which 15 % are false.",
        "Holds when every seed loses, fails when none does: any loss is one.",
        above("noise/lost by false attributes"),
        paper="Erroneous attributes are found and corrected by sampling (abstract).",
        controls=(AR_LEARNED,),
        null="AR on the same texts and steps with true attributes.",
        needs=(f"ar/hard, {MOST}", f"noisy/hard, {MOST}"),
    ),
    Claim(
        "correction-recovers",
        "Correction brings back at least half of what false attributes cost.",
        "Share of hard attributes won back by correction less half of what was lost.",
        "Holds when every seed is above 0, fails when all are at or below: the note's half.",
        above("noise/won back beyond half"),
        controls=(AR_LEARNED, HURTS),
        null="AR on the uncorrected sets.",
        needs=("noise/lost by false attributes", "noise/won back by correction", f"corrected/hard, {MOST}"),
    ),
    Claim(
        "verification-finds",
        "Sampled verification finds the false soft attributes.",
        "Precision and recall of what Thompson-sampled verification flags among soft attributes, by a judge that "
        "errs in 3 of 100.",
        "Holds when both are above 0.8 in every seed, fails when one is at or below in all: the note's number.",
        above_each(["flagged/precision, soft", "flagged/recall, soft"], FOUND),
        controls=no_control("what was injected is known, whatever a model learned"),
        null="Flagging at random has the share of false ones (0.17) as its precision and the share judged as recall.",
        needs=("flagged/soft attributes judged", "flagged/precision, all", "flagged/recall, all"),
    ),
    Claim(
        "never-met-finds",
        "Attributes that no text can have are found since no sample meets them.",
        "Precision and recall of the never-satisfied test (8 samples a set, level 0.05) on planted attributes.",
        "Holds when both are above 0.8 in every seed, fails when one is at or below in all: the note's number.",
        above_each(["never met/precision", "never met/recall"], FOUND),
        controls=(AR_LEARNED,),
        null="At its level the test suspects at most 5 % of what can be met; the share stands beside.",
        needs=("never met/suspected of those that can be met",),
    ),
    Claim(
        "margin-saves-pairs",
        "Dropping pairs with a margin below 0.1 is no worse than keeping all.",
        "Share met on held-out global sets, GPO on pairs with the margin less GPO on all, equal epochs; "
        "pairs are two answers as they come, since best and worst of eight nearly always differ by it.",
        "Holds when every seed is above -1 point, fails when all are below -2: the note's numbers.",
        gains("wide_pairs/global beyond any_pairs", -LITTLE, -2 * LITTLE),
        controls=(
            AR_LEARNED,
            Control(what="the margin drops a tenth of the pairs or more", rule=above("pairs/any, share dropped", 0.1)),
        ),
        null="All pairs of the same answers.",
        needs=("pairs/any, kept", "wide_pairs/global beyond ar", "any_pairs/global beyond ar"),
    ),
)
