"""The claims of Bricks (arXiv 2409.02877) with the rules that decide them at laptop scale, written before the runs.

The empirical claims (section 4) are the paper's own, with its figures on Llama-3-8B-Instruct and Mistral-7B-Instruct;
what it says of routing, combining, updating and growing is a survey of others' work, and the quantities, thresholds,
nulls and controls are ours throughout. One condition decides a claim; what must have succeeded first is its control.
"""

from typing import Literal

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
    short_of,
)

HIGH = ("code", "mathematics", "translation")
"""Capabilities whose best neurons the paper puts above 0.8 in most layers."""

LOWER = ("german", "knowledge", "writing")
ALMOST_NOTHING = 0.02
"""Relative rise of the loss that counts as almost nothing."""

CLUSTERED: tuple[Literal["weights", "coactivation"], ...] = ("weights", "coactivation")
"""Ways to group neurons that belong together, beside groups by lot."""

LEFT_OUT = {"fixed neurons": (0.5, 0.25, 0.1), "experts": (0.25,), "inputs": (0.25, 0.4)}
"""Shares left out of a decoded token, by what is left out: neurons that are never run, experts that a router does not
choose, and of the inputs of all matrices the small ones, as ``armillary bricks sparsify`` does."""


def configuration(kind: str, share: float) -> str:
    """Its name: "inputs, 25% left out"."""
    return f"{kind}, {share:.0%} left out"


ABOVE_NULL = "scores/layers above the null, least capability"
PERMUTED = ", permuted labels"
HIGH_SHARES = tuple(f"scores/layers above 0.8, {name}" for name in HIGH)
MATCHED = "knockout/capabilities above matched sets"
OWN = tuple(f"knockout/{name}, own effect" for name in (*HIGH, *LOWER))
OWN_MINUS_MATCHED = tuple(f"knockout/{name}, own minus matched sets" for name in (*HIGH, *LOWER))
EFFICACY = "edits/efficacy, "

HAS_NEURONS = Control(
    what="the capabilities are there to be found: in most layers some neuron tells each of them better than chance",
    rule=above(ABOVE_NULL, 0.5),
)
EDIT_TOOK = Control(
    what="the edit took: the new capital is the likelier answer in more than half of the edits",
    rule=above(f"{EFFICACY}general", 0.5),
)
LEARNED = Control(
    what="the adapters learned: more than half of them surely lower the loss on texts of theirs that judge nothing",
    rule=above("merging/adapters with a sure gain", 0.5),
)

CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="sparse",
        statement="Most neurons take little part in any one token, more of them than in a network that learned "
        "nothing.",
        paper="About 80 % of neurons have a normalised indicator below 0.2 in all layers, both models (section 4.2); "
        "no untrained network beside it.",
        quantity="Share of neurons, over tokens and layers, whose output magnitude is below 0.2 of the token's "
        "largest, over draws of texts.",
        rule="Holds if the interval lies above the largest share of the random networks; fails if it ends at or below "
        "the smallest. A share alone decides nothing: of a largest value among a thousand neurons most are far below.",
        decide=beyond("sparsity/share below 0.2", "sparsity/share below 0.2, random weights"),
        controls=(
            Control(
                what="the model has learned and the random networks have not: at least 1 nat per token between them",
                rule=above("sparsity/loss, random weights minus trained", 1.0),
            ),
        ),
        null="The same share in networks of the same shape whose matrices are drawn anew, N(0, 1 / inputs).",
        needs=("sparsity/share below 0.2, least layer", "sparsity/layers sparser than random weights"),
    ),
    Claim(
        id="masking-is-free",
        statement="Leaving out the weakest 70 % of neurons by activation, or 80 % by magnitude, costs almost nothing.",
        paper="Nearly no loss up to 70 % and 80 % on all seven functionalities (section 4.2).",
        quantity="Relative rise of the loss over texts of all capabilities, masked token by token.",
        rule="Holds if both intervals lie below 2 %; fails if one lies at or above: a fiftieth of the loss is what we "
        "call almost nothing.",
        decide=below_each(["masking/loss at 70 % by activation", "masking/loss at 80 % by magnitude"], ALMOST_NOTHING),
        controls=(
            Control(
                what="the loss would show it: leaving out as many neurons by lot costs more than 2 %",
                rule=above("masking/loss at 70 % by lot", ALMOST_NOTHING),
            ),
        ),
        null="70 % of the neurons left out by lot, drawn anew at every token.",
        needs=("masking/loss at 50 % by magnitude",),
    ),
    Claim(
        id="magnitude-beats-activation",
        statement="Output magnitude tells better than activation which neurons can be left out.",
        paper="Magnitude stays free up to 80 %, activation up to 70 % (section 4.2).",
        quantity="Loss masked by activation less loss masked by magnitude at 70 %, nats per token, paired by text.",
        rule="Holds if the interval lies above 0; fails if it lies at or below 0.",
        decide=above("masking/activation minus magnitude, 70 %"),
        controls=(
            Control(
                what="there is something to tell apart: leaving out 70 % by activation costs something",
                rule=above("masking/loss at 70 % by activation"),
            ),
        ),
        null="0, where the two indicators are exchanged text by text: the interval is over texts, in pairs.",
    ),
    Claim(
        id="functional-neurons",
        statement="In every layer some neuron tells the texts of a capability far better than chance.",
        paper="The best score of every layer is far above mean and random (section 4.3, figure).",
        quantity="Share of layers whose best neuron scores above the 99.9 % quantile of the best of the same neurons "
        "under permuted labels; the capability with the smallest share, over draws of texts.",
        rule="Holds if the interval lies above 0.9 (every layer but a tenth); fails if it lies at or below.",
        decide=above(ABOVE_NULL, 0.9),
        controls=(
            Control(
                what="the null is none: under further permutations of the labels at most 5 % of layers lie above it",
                rule=at_most(f"scores/layers above the null{PERMUTED}", 0.05),
            ),
        ),
        null="The best neuron of the same layer under a thousand permutations of the labels.",
    ),
    Claim(
        id="high-in-most-layers",
        statement="Neurons for code, mathematics and translation score above 0.8 in most layers.",
        paper="Coding, Math and Translation above 0.8 in most layers (section 4.3).",
        quantity="Share of layers whose best neuron scores above 0.8 (average precision; chance one in six), over "
        "draws of texts.",
        rule="Holds if the three intervals lie above one half; fails if one lies at or below.",
        decide=above_each(HIGH_SHARES, 0.5),
        controls=(
            Control(
                what="0.8 is beyond chance: at most 5 % of layers reach it under permuted labels",
                rule=at_most(f"scores/layers above 0.8{PERMUTED}", 0.05),
            ),
        ),
        null="The same share under permuted labels.",
    ),
    Claim(
        id="others-score-lower",
        statement="In fewer layers do neurons for other capabilities score above 0.8 than for code, mathematics and "
        "translation.",
        paper="Of seven functionalities only Coding, Math and Translation are above 0.8 in most layers (section 4.3).",
        quantity="Share of layers above 0.8, the least of code, mathematics and translation less the largest of "
        "German, knowledge and writing, over draws of texts.",
        rule="Holds if the interval lies above 0; fails if it lies at or below.",
        decide=above("scores/layers above 0.8, least of the three minus most of the others"),
        controls=(
            Control(
                what="the three have such neurons at all: above 0.8 in most layers",
                rule=above_each(HIGH_SHARES, 0.5),
            ),
        ),
        null="0: with the names of the capabilities exchanged the difference is as often below as above.",
        needs=tuple(f"scores/layers above 0.8, {name}" for name in LOWER),
    ),
    Claim(
        id="few-neurons",
        statement="Few neurons are specialised: from the best of a layer to its best 5 per mille the score falls by "
        "more than chance makes it fall.",
        paper="A large gap from the best to the best 5 per mille (section 4.3, figure).",
        quantity="Best score of a layer less that of its best 5 per mille, mean of layers and capabilities, over "
        "draws of texts.",
        rule="Holds if the interval lies above 95 % of what permuted labels give; fails if it lies at or below them.",
        decide=beyond("scores/best minus top 5 per mille", f"scores/best minus top 5 per mille{PERMUTED}"),
        controls=(HAS_NEURONS,),
        null="The same fall under permuted labels: the best of many is above the rest by chance as well.",
    ),
    Claim(
        id="mean-score-is-chance",
        statement="The mean score of all neurons is that of chance.",
        paper="The mean of the scores equals random (section 4.3).",
        quantity="Mean score over the chance level, less that under permuted labels, over draws of texts.",
        rule="Holds if the interval lies within 0.1 of 0; fails if it lies outside: a tenth of the chance level is "
        "what we call equal.",
        decide=equal("scores/mean over chance, less permuted labels", within=0.1),
        controls=(HAS_NEURONS,),
        null="The mean score over chance under permuted labels, which is subtracted.",
        needs=("scores/mean over chance", f"scores/mean over chance{PERMUTED}"),
    ),
    Claim(
        id="knockout-is-specific",
        statement="Switching off a capability's neurons hurts it more than switching off others that write as much.",
        paper="The own effect is the largest of its row in 13 of 14 rows (table of section 4.3); no baseline.",
        quantity="Share of the six capabilities whose own set raises its loss by more than one more matched set "
        "would, surely (lower end) or not surely otherwise (upper end); intervals over texts and matched sets, for "
        "all six at once. The first token keeps its neurons.",
        rule="Holds if five of six or more do surely (the paper's 13 of 14 leave room for one exception); fails if "
        "two or more surely do not.",
        decide=above(MATCHED, 0.75),
        controls=(
            Control(
                what="the capabilities are used: switching off its own set costs each of them something",
                rule=above_each(OWN, 0.0),
            ),
        ),
        null="Sets of other neurons of the same output magnitude on the capability's texts, drawn several times.",
        needs=(*OWN_MINUS_MATCHED, "knockout/own effect is the largest of its row"),
    ),
    Claim(
        id="residents-cause-collateral",
        statement="What a set hurts besides its own capability is the doing of neurons that take part everywhere.",
        paper="The authors' guess for the two rows that hurt everything (section 4.3).",
        quantity="Share of the collateral of the sets of largest collateral that is left when the neurons that fire "
        "at half of all tokens are taken out of them; over texts.",
        rule="Holds if less than one half stays (interval); fails if one half or more does.",
        decide=below("residents/collateral kept", 0.5),
        controls=(
            Control(what="there is collateral: the sets hurt other capabilities", rule=above("residents/collateral")),
            Control(
                what="it is not their number: without as many other neurons of the sets more than half stays",
                rule=above("residents/collateral kept without as many others", 0.5),
            ),
        ),
        null="As many other neurons taken out of the same sets, drawn anew for each.",
        needs=("residents/own effect kept",),
    ),
    Claim(
        id="sets-are-apart",
        statement="The neurons of different capabilities overlap less than sets chosen from permuted labels.",
        paper="Overlaps of 0.00 to 0.09, most 0.00 to 0.02, random 0.05; above it only Linguistic with Translation.",
        quantity="Mean overlap of the best 5 % of two capabilities over all pairs, over draws of texts.",
        rule="Holds if the interval lies below 95 % of what permuted labels give; fails if it lies at or above them. "
        "The paper's 0.05 is no null: of texts that are one capability's and no other's, sets exclude each other.",
        decide=short_of("overlap/mean of pairs", f"overlap/mean of pairs{PERMUTED}"),
        controls=(
            Control(
                what="a set belongs to its capability: chosen on other texts more than half of it is the same",
                rule=above("overlap/one capability, other texts", 0.5),
            ),
        ),
        null="Sets chosen in the same way under permuted labels.",
    ),
    Claim(
        id="partitionable",
        statement="Grouping neurons without knowing capabilities collects the neurons of a capability in few groups.",
        paper="Left to future work in this paper; its predecessor shows it for T5 and a mixture of experts.",
        quantity="Experts with more of a capability's best neurons than p <= 0.001 allows, mean of six capabilities, "
        "of one partition by co-activation; over draws of the texts that score.",
        rule="Holds if the interval lies above 95 % of random partitions; fails if it lies at or below them.",
        decide=beyond("experts/functional experts, coactivation", "experts/functional experts, null"),
        controls=(HAS_NEURONS,),
        null="Partitions of the same sizes by lot.",
        needs=(
            "experts/functional experts, weights",
            "experts/functional experts, random",
            "experts/capabilities beyond chance, coactivation",
        ),
    ),
    Claim(
        id="routing-keeps-quality",
        statement="A quarter of the experts, chosen by a fitted router, keeps the quality of the dense model.",
        paper="Survey: MoEfication keeps over 95 % with 10 to 30 % of FFN weights (ReLU models, trained routers).",
        quantity="Relative rise of the loss with a quarter of the experts a token, partition by co-activation and a "
        "ridge router, no training of the model.",
        rule="Holds if the interval ends at 5 % or below; fails if it begins above: over 95 % is kept.",
        decide=at_most("routing/loss at a quarter, fitted router", 0.05),
        controls=(
            Control(
                what="the router learned: it loses less than a router by lot",
                rule=above("routing/lot minus fitted router, a quarter"),
            ),
        ),
        null="A router with random weights on the same partition.",
        needs=("routing/loss at a quarter, router by lot", "routing/loss at a quarter, oracle"),
    ),
    Claim(
        id="clusters-beat-lots",
        statement="Experts made of neurons that belong together lose less than experts by lot.",
        paper="Survey (MoEfication); the paper partitions nothing itself.",
        quantity="Loss with half of the experts of a random partition less that of a clustered one, both chosen by "
        "their oracle; nats per token, paired by text; the weakest of the draws of the random partition.",
        rule="Holds if both kinds of clusters lie above 0; fails if one lies at or below.",
        decide=above_each([f"routing/random minus {kind}, half, weakest draw" for kind in CLUSTERED], 0.0),
        controls=(
            Control(
                what="there is something to lose: half of the experts by lot raise the loss",
                rule=above("routing/rise at half, random, least draw"),
            ),
        ),
        null="Partitions of the same sizes by lot, drawn several times; the one that loses least is compared with.",
    ),
    Claim(
        id="retrieval",
        statement="A brick retrieved for each input does at least as well as the best fixed brick.",
        paper="Survey (retrieval of adapters); no figure of its own.",
        quantity="Nats per token with the retrieved adapter less those with the best single one, paired over texts of "
        "three capabilities and all draws.",
        rule="Holds if the interval ends at 0 or below; fails if it begins above.",
        decide=at_most("retrieval/retrieved minus best fixed", 0.0),
        controls=(
            Control(what="the right adapters beat the base", rule=below("retrieval/oracle minus base")),
            Control(
                what="there is something to choose: the right adapters beat the best fixed one",
                rule=below("retrieval/oracle minus best fixed"),
            ),
        ),
        null="An adapter by lot for each text (shown: what retrieval saves over it).",
        needs=("retrieval/retrieved minus oracle", "retrieval/retrieved minus one by lot"),
    ),
    Claim(
        id="merging",
        statement="Averaging bricks of one base keeps most of what each could do.",
        paper="Survey (linear mode connectivity); no figure of its own.",
        quantity="Gains of the average of three adapters on the texts of each over the adapters' own gains, of those "
        "with a sure gain on other texts; over these adapters. Rates are chosen on a pilot of the same model.",
        rule="Holds if the interval lies above one half (most); fails if it lies at or below.",
        decide=above("merging/retention, average", 0.5),
        controls=(
            LEARNED,
            Control(
                what="it is their base: the same adapters reordered for a base of the same function keep less than "
                "half",
                rule=below("merging/retention, foreign base", 0.5),
            ),
        ),
        null="The same adapters, made for a base of the same function with its neurons in another order.",
    ),
    Claim(
        id="subtracting",
        statement="Subtracting a brick takes its ability away.",
        paper="Survey (task arithmetic, detoxification); no figure of its own.",
        quantity="Rise of the loss on the texts of the adapter for code when it is subtracted, less the rise on those "
        "of two other capabilities; over adapters.",
        rule="Holds if the interval lies above 0; fails if it lies at or below.",
        decide=above("merging/negation, own minus others"),
        controls=(
            Control(
                what="it had the ability: added, it lowers the loss on its texts",
                rule=above("merging/gain of the subtracted adapter"),
            ),
        ),
        null="The rise on texts of two other capabilities, which a change that harms everything would raise as much.",
    ),
    Claim(
        id="editing-is-local",
        statement="Editing one FFN changes one fact and leaves its neighbours alone.",
        paper="Survey (ROME, MEMIT); no figure of its own.",
        quantity="Capitals that the model knows, edited one at a time at a layer chosen on other facts: share of "
        "neighbours with the same likeliest next token, over facts.",
        rule="Holds if the interval lies above 80 %; fails if it lies at or below: four of five neighbours.",
        decide=above("edits/neighbours unchanged, general", 0.8),
        controls=(
            EDIT_TOOK,
            Control(
                what="it is the key: along a random key less than half of the edits take",
                rule=below(f"{EFFICACY}random", 0.5),
            ),
        ),
        null="The same value written along a random key, which edits nothing.",
        needs=("edits/paraphrases, general", "edits/neighbours unchanged, random"),
    ),
    Claim(
        id="second-moment-helps",
        statement="Weighing keys by their second moment over general text keeps an edit more local than plain keys.",
        paper="The closed form of ROME, which the paper surveys.",
        quantity="Share of neighbours unchanged with the second moment less that with the identity, paired by fact.",
        rule="Holds if the interval lies above 0; fails if it lies at or below.",
        decide=above("edits/unchanged, general minus identity"),
        controls=(
            EDIT_TOOK,
            Control(
                what="the plain edit took as well: a change that does nothing would be local",
                rule=above(f"{EFFICACY}identity", 0.5),
            ),
        ),
        null="0, where the two directions are exchanged fact by fact: the interval is over facts, in pairs.",
    ),
    Claim(
        id="growing",
        statement="New neurons learn new text without harm to the old.",
        paper="Survey (Net2Net, LLaMA-Pro, upcycling); no figure of its own.",
        quantity="After training only the new neurons on German: change of the loss on old texts (code, knowledge), "
        "nats per token, over trainings. The rate is chosen on a pilot of the same model by German alone.",
        rule="Holds if the interval ends at 0.01 nats or below; fails if it begins above.",
        decide=at_most("growth/old, new neurons", 0.01),
        controls=(
            Control(what="the new text was learned: its loss falls", rule=below("growth/new, new neurons")),
            Control(
                what="growing alone changes nothing: no logit moves by more than ten times the model's own rounding",
                rule=at_most("growth/logit difference over the model's own rounding", 10.0),
            ),
        ),
        null="The model before, whose change is 0.",
        needs=("growth/largest logit difference",),
    ),
    Claim(
        id="saves-computation",
        statement="Running only the parts that are needed saves computation at equal quality.",
        paper="The first of the five benefits that the paper promises; no figure of its own.",
        quantity="Time of a decoded token, dense over the configuration that loses least on texts that none was "
        "fitted to; taken only where that keeps the loss within 2 % on the texts that judge.",
        rule="Holds if the interval lies above 1; fails if it lies at or below.",
        decide=above("saving/time ratio at equal quality", 1.0),
        controls=(
            Control(
                what="some configuration keeps the quality: its loss rises by 2 % at most",
                rule=at_most("saving/loss of the best configuration", ALMOST_NOTHING),
            ),
            Control(
                what="it is what is left out: the same code with nothing left out takes longer",
                rule=above("saving/time ratio to nothing left out", 1.0),
            ),
        ),
        null="1: the dense model against itself; arms take turns in every round.",
        needs=tuple(
            f"saving/loss, {configuration(kind, share)}" for kind, shares in LEFT_OUT.items() for share in shares
        ),
    ),
)
