"""The claims of OCEAN on the given model, with the rules that decide them, written before the runs.

Effects were expected to be small (the note): a model of this size, adapters of some steps. Intervals are paired over
held-out questions, the widest ends of all seeds.
"""

from armillary.records.claims import Claim, Control, above, at_most, below, below_each

WRONG = Control(
    what="the given model is wrong about at least a tenth of the questions", rule=below("real/base/accuracy", 0.9)
)
KNOWS = Control(
    what="the graph's policy answers more questions rightly than the given model",
    rule=above("real/graph policy/accuracy beyond base"),
)
_BASE = "The given model itself, which differs from it by 0."

REAL_CLAIMS: tuple[Claim, ...] = (
    Claim(
        "real-value-rises",
        "Ascent on training questions raises the estimated value on held-out ones.",
        "Value of held-out chains under the aligned model less that under the given one, paired.",
        "Holds when the interval is above 0, fails when it is at or below: any rise is one.",
        above("real/kg_ips/value beyond base"),
        paper="The estimated value rises after alignment (an account of the paper).",
        controls=(KNOWS,),
        null=_BASE,
        needs=("real/stable/value beyond base", "real/kg_ips/self-normalised value beyond base"),
    ),
    Claim(
        "real-faithful",
        "Alignment by the paper's objective makes answers more accurate.",
        "Share of held-out questions whose greedy answer names a right entity, less the given model's.",
        "Holds when the interval is above 0, fails when it is at or below: any gain is one.",
        above("real/kg_ips/accuracy beyond base"),
        paper="At least as good as the base model on most sets.",
        controls=(WRONG, KNOWS),
        null=_BASE,
        needs=("real/kg_ips/contradicted beyond base", "real/sft/accuracy beyond base"),
    ),
    Claim(
        "real-faithful-stable",
        "Alignment by the stable objective does (ours).",
        "The same of the stable objective.",
        "Holds when the interval is above 0, fails when it is at or below: any gain is one.",
        above("real/stable/accuracy beyond base"),
        controls=(WRONG, KNOWS),
        null=_BASE,
        needs=("real/stable/contradicted beyond base", "real/sft/accuracy beyond base"),
    ),
    Claim(
        "real-fewer-contradictions",
        "The stable objective leaves no more steps that the graph contradicts (ours).",
        "Share of steps contradicted by lookup, less the given model's.",
        "Holds when the interval ends at 0 or below, fails when it begins above: alignment must not do harm.",
        at_most("real/stable/contradicted beyond base"),
        controls=(KNOWS,),
        null=_BASE,
        needs=("real/base/contradicted", "real/base/supported", "real/stable/supported beyond base"),
    ),
    Claim(
        "real-no-collateral",
        "Neither objective costs anything elsewhere.",
        "Relative rise of perplexity on program documentation.",
        "Holds when both are below 2 % in every seed, fails when one is at or above in all: the note's number.",
        below_each(["real/kg_ips/perplexity rise", "real/stable/perplexity rise"], 0.02),
        paper="Other tasks hold or improve where supervised tuning loses.",
        controls=(KNOWS,),
        null=_BASE,
        needs=("real/sft/perplexity rise",),
    ),
    Claim(
        "real-sft-costs-more",
        "Supervised tuning on the graph's text costs more elsewhere.",
        "Relative rise of perplexity by supervised tuning less that by the stable objective.",
        "Holds when every seed is above 0, fails when all are at or below: more is more.",
        above("real/sft/perplexity rise beyond stable"),
        paper="Supervised tuning drops sharply on knowledge and common sense.",
        controls=(KNOWS,),
        null="The stable objective for as many steps of as many rows.",
        needs=("real/sft/perplexity rise", "real/stable/perplexity rise"),
    ),
    Claim(
        "real-beats-sft",
        "The stable objective makes answers more accurate than supervised tuning does (ours).",
        "Share of right answers by the stable objective less that by supervised tuning on true chains.",
        "Holds when the interval is above 0, fails when it is at or below: true chains teach what no log holds.",
        above("real/stable/accuracy beyond sft"),
        controls=(WRONG, KNOWS),
        null="Supervised tuning for as many steps on true chains of the same questions.",
        needs=("real/stable/accuracy beyond base", "real/sft/accuracy beyond base"),
    ),
    Claim(
        "real-beats-weighted",
        "It makes them more accurate than tuning on those logged chains that have a right answer (ours).",
        "Share of right answers by the stable objective less that by supervised tuning on its own right chains.",
        "Holds when the interval is above 0, fails when it is at or below: exact lookup is the simpler way.",
        above("real/stable/accuracy beyond weighted"),
        controls=(WRONG, KNOWS),
        null="Supervised tuning for as many steps on the right ones of the same logs.",
        needs=("real/stable/accuracy beyond base", "real/weighted/accuracy beyond base"),
    ),
    Claim(
        "real-beats-dpo",
        "It makes them more accurate than preferences by lookup do (ours).",
        "Share of right answers by the stable objective less that by DPO on right against wrong logged chains.",
        "Holds when the interval is above 0, fails when it is at or below: exact lookup is the simpler way.",
        above("real/stable/accuracy beyond dpo"),
        controls=(WRONG, KNOWS),
        null="DPO for as many steps on pairs of the same logs.",
        needs=("real/stable/accuracy beyond base", "real/dpo/accuracy beyond base"),
    ),
    Claim(
        "real-beats-grpo",
        "It makes them more accurate than rewards by lookup do (ours).",
        "Share of right answers by the stable objective less that by GRPO with lookup as reward.",
        "Holds when the interval is above 0, fails when it is at or below: exact lookup is the simpler way.",
        above("real/stable/accuracy beyond grpo"),
        controls=(WRONG, KNOWS),
        null="GRPO for half as many steps, which draws chains of its own in each.",
        needs=("real/stable/accuracy beyond base", "real/grpo/accuracy beyond base"),
    ),
)
