"""The claims of OCEAN (arXiv 2410.23703) with the rules that decide them in a small world, written before the runs.

The statements are the paper's as two accounts of it give them, or ours where they say so; no table of its results was
at hand, so no figure of it stands here. Quantities, thresholds, controls and nulls are ours throughout.
"""

from armillary.records.claims import Claim, Control, Rule, above, above_each, below, below_each, no_control, settled

LITTLE = 0.02
"""Relative rise of perplexity, and fall of accuracy, that the note lets pass as no damage."""

RANKED = 0.8
"""Rank correlation that the note asks for."""

SPEAKS = Control(
    what="the base policy speaks: nine in ten of its held-out chains are well formed",
    rule=above("base/well-formed", 0.9),
    otherwise="model too small",
)
WRONG = Control(what="the base policy is wrong in at least a tenth of its steps", rule=below("base/validity", 0.9))
KNOWS = Control(
    what="the graph's policy knows better: a tenth more of its steps are true",
    rule=above("graph policy/validity beyond base", 0.1),
)
RANGE = Control(
    what="the policies differ: a fifth of all steps between the best and the worst",
    rule=above("family/range of validity", 0.2),
)
LEARNED = (SPEAKS, WRONG, KNOWS)
_BASE = "The base policy itself, which differs from it by 0."
_EXACT = no_control("distributions are drawn and summed over, whatever a model learned")


def _both(name: str, low: float, high: float, other: str, least: float) -> Rule:
    """Holds where the first lies between its bounds and the second above its own, fails where one is beyond."""
    return Rule(
        (name, other),
        lambda m: settled(
            holds=low <= m[name].lower and m[name].upper <= high and m[other].lower > least,
            fails=m[name].upper < low or m[name].lower > high or m[other].upper <= least,
        ),
        {name: (low, high), other: (least,)},
    )


def _below_own(limits: dict[str, float]) -> Rule:
    """Holds where each is below its own limit, fails where one is at or above."""
    return Rule(
        tuple(limits),
        lambda m: settled(
            holds=all(m[name].upper < limit for name, limit in limits.items()),
            fails=any(m[name].lower >= limit for name, limit in limits.items()),
        ),
        {name: (limit,) for name, limit in limits.items()},
    )


def _any_above(names: tuple[str, ...]) -> Rule:
    """Holds where one lies above 0, fails where all lie at or below."""
    return Rule(
        names,
        lambda m: settled(
            holds=any(m[name].lower > 0 for name in names), fails=all(m[name].upper <= 0 for name in names)
        ),
        dict.fromkeys(names, (0.0,)),
    )


def _harmless(arm: str) -> Rule:
    return below_each([f"{arm}/perplexity rise", f"{arm}/unrelated accuracy fall"], LITTLE)


def _shown(arm: str) -> tuple[str, ...]:
    return (f"{arm}/validity", f"{arm}/accuracy", "base/validity", "base/accuracy")


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "unbiased",
        "KG-IPS is unbiased.",
        "Mean estimate of many logs of lambda less the value by enumeration (states of lambda), in standard errors; "
        "where lambda is decided by the word and not by the slot, the same.",
        "Holds when by slots every seed lies within 3 standard errors and by words every seed beyond; fails when one "
        "is otherwise in all: the note's number.",
        _both("enumeration/bias by slot", -3.0, 3.0, "enumeration/bias by word, size", 3.0),
        paper="Its expectation is the target's (theorem).",
        controls=_EXACT,
        null="An unbiased estimate is within 3 standard errors in 997 of 1,000 seeds.",
    ),
    Claim(
        "concentrates",
        "The estimate concentrates: its variance falls as one over the number of chains, below M²/4n.",
        "Variance over logs: its largest ratio to M²/4n (M greatest less least term), and the slope of its logarithm.",
        "Holds when the slope is within 0.15 of -1 and the ratio below 1 in every seed; fails when one is otherwise "
        "in all: 0.15 is three standard errors of a slope over 400 logs.",
        _both("enumeration/slope of the variance", -1.15, -0.85, "enumeration/bound beyond the variance", 0.0),
        paper="A sub-Gaussian interval follows from its bound on the variance.",
        controls=_EXACT,
        null="Popoviciu's inequality: no distribution on an interval of length M exceeds the bound.",
        needs=("enumeration/variance over its bound", "chains/variance over its bound"),
    ),
    Claim(
        "literal-lower-bound",
        "The variance of KG-IPS is bounded from below by M²/4n.",
        "Variance of a chain's term over M²/4, M its largest size, on the base policy's chains.",
        "Holds when every seed lies above 1, fails when all lie at or below: as it is stated.",
        above("chains/variance over the literal lower bound", 1.0),
        paper="Stated so in two accounts of the theorem.",
        controls=(SPEAKS,),
        null="Terms that are all alike have a ratio of 0.",
        needs=("chains/variance over its bound",),
    ),
    Claim(
        "ranks-policies",
        "The estimate tells how faithful policies are to the graph.",
        "Spearman's correlation of the value, on the base policy's chains, with the share of true steps of what eight "
        "policies say: six mixes of base and graph, two that went on learning wrong facts.",
        f"Holds when every seed is above {RANKED}, fails when all are at or below: the note's number.",
        above("family/value", RANKED),
        controls=(*LEARNED, RANGE),
        null="Unrelated ranks of eight have a correlation of 0 on average; 0.64 is exceeded in 1 of 20 (one side).",
        needs=("family/self-normalised value", "family/likelihood", "family/value, lambda's chains"),
    ),
    Claim(
        "ranks-self-normalised",
        "The self-normalised estimate tells it too (ours).",
        "The same of the self-normalised value.",
        f"Holds when every seed is above {RANKED}, fails when all are at or below: as for the plain one.",
        above("family/self-normalised value", RANKED),
        controls=(*LEARNED, RANGE),
        null="Unrelated ranks, as for the plain one.",
        needs=("family/value",),
    ),
    Claim(
        "theory-regime-is-blind",
        "On chains of lambda, as the theory asks, the estimate tells less of the graph (ours).",
        "Spearman's correlation on the base policy's chains less that on chains of lambda.",
        "Holds when every seed is above 0, fails when all are at or below: less is less.",
        above("family/value beyond value, lambda's chains"),
        controls=(*LEARNED, RANGE),
        null="The same correlation on both: 0.",
        needs=("family/value", "family/value, lambda's chains"),
    ),
    Claim(
        "beyond-likelihood",
        "It tells more than the likelihood of the logged chains does (ours).",
        "Spearman's correlation of the value less that of the mean log-likelihood of the same chains.",
        "Holds when every seed is above 0, fails when all are at or below: what needs no graph is no evidence for it.",
        above("family/value beyond likelihood"),
        controls=(*LEARNED, RANGE),
        null="The likelihood of the base policy's chains, which knows nothing of the graph.",
        needs=("family/value", "family/likelihood"),
    ),
    Claim(
        "value-rises",
        "Ascent on training questions raises the estimated value on held-out ones.",
        "Value of held-out chains under the aligned model less that under the base policy, paired.",
        "Holds when the interval is above 0, fails when it is at or below: any rise is one.",
        above("kg_ips/value beyond base"),
        paper="The estimated value rises after alignment (an account of the paper).",
        controls=(SPEAKS,),
        null=_BASE,
        needs=("kg_ips/value", "base/value", "kg_ips/self-normalised value beyond base", "stable/value beyond base"),
    ),
    Claim(
        "faithful",
        "Alignment by the paper's objective makes chains truer and answers more accurate.",
        "Share of true steps, and of right answers, to held-out questions of two and three hops, less the base's.",
        "Holds when both intervals are above 0, fails when one is at or below: any gain is one.",
        above_each(["kg_ips/validity beyond base", "kg_ips/accuracy beyond base"]),
        paper="At least as good as the base model on most sets of several hops.",
        controls=LEARNED,
        null=_BASE,
        needs=(*_shown("kg_ips"), "graph policy/validity"),
    ),
    Claim(
        "faithful-stable",
        "Alignment by the stable objective does (ours).",
        "The same of the stable objective.",
        "Holds when both intervals are above 0, fails when one is at or below: any gain is one.",
        above_each(["stable/validity beyond base", "stable/accuracy beyond base"]),
        controls=LEARNED,
        null=_BASE,
        needs=(*_shown("stable"), "graph policy/validity"),
    ),
    Claim(
        "graph-counts",
        "What alignment gains comes from the graph, not from agreement with the base policy (ours).",
        "Share of true steps by the stable objective less that by the same without any entity.",
        "Holds when the interval is above 0, fails when it is at or below: sharpening alone has no graph in it.",
        above("stable/validity beyond no_graph"),
        controls=LEARNED,
        null="The stable objective with every word weighed by the base policy.",
        needs=("stable/validity beyond base", "no_graph/validity beyond base"),
    ),
    Claim(
        "no-collateral",
        "The paper's objective costs nothing elsewhere.",
        "Relative rise of perplexity on unrelated text, and fall of accuracy on unrelated questions.",
        f"Holds when both are below {LITTLE:.0%} in every seed, fails when one is at or above in all: the note's.",
        _harmless("kg_ips"),
        paper="Other tasks hold or improve where supervised tuning loses.",
        controls=(SPEAKS,),
        null=_BASE,
        needs=("stable/perplexity rise", "sft/perplexity rise", "kg_ips/validity beyond base"),
    ),
    Claim(
        "no-collateral-stable",
        "The stable objective costs nothing elsewhere (ours).",
        "The same of the stable objective.",
        f"Holds when both are below {LITTLE:.0%} in every seed, fails when one is at or above in all: the note's.",
        _harmless("stable"),
        controls=(SPEAKS,),
        null=_BASE,
        needs=("stable/validity beyond base",),
    ),
    Claim(
        "sft-costs-more",
        "Supervised tuning on the graph's text costs more elsewhere.",
        "Relative rise of perplexity on unrelated text by supervised tuning less that by the paper's objective.",
        "Holds when every seed is above 0, fails when all are at or below: more is more.",
        above("sft/perplexity rise beyond kg_ips"),
        paper="Supervised tuning drops sharply on knowledge and common sense.",
        controls=(SPEAKS,),
        null="The paper's objective for as many steps of as many rows.",
        needs=("sft/perplexity rise", "kg_ips/perplexity rise", "sft/perplexity rise beyond stable"),
    ),
    Claim(
        "keeps-diversity",
        "Texts stay as varied.",
        "Relative fall of distinct-2, and rise of Self-BLEU, by the paper's objective.",
        "Holds when the fall is below 5 % and the rise below 5 points in every seed, fails when one is at or above in "
        "all: the note's numbers.",
        _below_own({"kg_ips/distinct-2 fall": 0.05, "kg_ips/self-BLEU rise": 5.0}),
        paper="Diversity equal to the base model's or better.",
        controls=(SPEAKS,),
        null=_BASE,
        needs=("kg_ips/distinct-2", "base/distinct-2", "kg_ips/self-BLEU", "base/self-BLEU"),
    ),
    Claim(
        "keeps-diversity-stable",
        "Texts stay as varied by the stable objective (ours).",
        "The same of the stable objective.",
        "Holds when the fall is below 5 % and the rise below 5 points in every seed, fails when one is at or above in "
        "all: the note's numbers.",
        _below_own({"stable/distinct-2 fall": 0.05, "stable/self-BLEU rise": 5.0}),
        controls=(SPEAKS,),
        null=_BASE,
        needs=("stable/distinct-2", "base/distinct-2", "stable/self-BLEU", "base/self-BLEU"),
    ),
    Claim(
        "token-split",
        "Weighing only entities by the graph's policy keeps language and variance better than weighing all words.",
        "With all words weighed: perplexity on unrelated text, malformed chains, and the spread of terms, each beyond "
        "the stable objective's.",
        "Holds when one is above 0 in every seed, fails when all are at or below: the note asks for either.",
        _any_above(
            (
                "stable_all/perplexity rise beyond stable",
                "stable_all/well-formed below stable",
                "stable_all/spread of terms over stable's",
            )
        ),
        paper="The split keeps the base model's language and lowers variance.",
        controls=LEARNED,
        null="The stable objective with its entities: a difference of 0.",
        needs=("stable_all/validity beyond base", "stable/validity beyond base"),
    ),
    Claim(
        "beats-dpo",
        "Off-policy alignment makes chains truer than preferences by lookup do (ours).",
        "Share of true steps by the stable objective less that of DPO on true against false logged chains.",
        "Holds when the interval is above 0, fails when it is at or below: exact lookup is the simpler way.",
        above("stable/validity beyond dpo"),
        controls=LEARNED,
        null="DPO for as many steps on pairs of the same logs.",
        needs=("stable/validity beyond base", "dpo/validity beyond base", "kg_ips/validity beyond dpo"),
    ),
    Claim(
        "beats-weighted",
        "It makes them truer than tuning on the logged chains that lookup calls true (ours).",
        "Share of true steps by the stable objective less that of tuning on true logged chains.",
        "Holds when the interval is above 0, fails when it is at or below: exact lookup is the simpler way.",
        above("stable/validity beyond weighted"),
        controls=LEARNED,
        null="Supervised tuning for as many steps on the true ones of the same logs.",
        needs=("stable/validity beyond base", "weighted/validity beyond base", "kg_ips/validity beyond weighted"),
    ),
    Claim(
        "raw-ascent-flees",
        "The paper's objective pushes probability to words that were never logged, the stable one less so (ours).",
        "Probability at entity slots on words that no logged slot has: of the paper's objective less that of the base "
        "policy, and less that of the stable one.",
        "Holds when both are above 0 in every seed, fails when one is at or below in all: all rewards are below 0.",
        above_each(["kg_ips/never logged beyond base", "kg_ips/never logged beyond stable"]),
        controls=(SPEAKS,),
        null=_BASE,
        needs=("kg_ips/never logged", "stable/never logged", "base/never logged"),
    ),
)
