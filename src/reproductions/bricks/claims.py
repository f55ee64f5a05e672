"""The claims of Bricks (arXiv 2409.02877) with the rules that decide them at laptop scale, written before the runs.

The empirical claims (section 4) are the paper's own, with its figures on Llama-3-8B-Instruct and Mistral-7B-Instruct;
what it says of routing, combining, updating and growing is a survey of others' work, and the quantities, thresholds,
nulls and controls are ours throughout. A rule reads intervals only.
"""

from typing import Literal

from armillary.numerics.intervals import Interval
from armillary.records.claims import Claim, Verdict, above, at_most, below, every, reading, settled

HIGH = ("code", "mathematics", "translation")
"""Capabilities whose best neurons the paper puts above 0.8 in most layers."""

LOWER = ("german", "knowledge", "writing")
ALMOST_NOTHING = 0.02
"""Relative rise of the loss that counts as almost nothing."""


CLUSTERED: tuple[Literal["weights", "coactivation"], ...] = ("weights", "coactivation")
"""Ways to group neurons that belong together, beside groups by lot."""


@reading("sparsity/share below 0.2", "sparsity/share below 0.2, least layer")
def _sparse(mean: Interval, least: Interval) -> Verdict:
    return settled(
        fails=mean.upper < 0.8 or least.upper < 0.7,
        holds=mean.lower >= 0.8 and least.lower >= 0.7,
    )


@reading("scores/layers above the null, least capability", "scores/layers above the null, shuffled")
def _best(least: Interval, shuffled: Interval) -> Verdict:
    return settled(
        fails=least.estimate < 0.75 or least.estimate <= shuffled.estimate,
        holds=least.estimate >= 0.9 and shuffled.estimate <= 0.05,
    )


@reading(*(f"scores/layers above 0.8, {name}" for name in (*HIGH, *LOWER)))
def _most_layers(*shares: Interval) -> Verdict:
    high, lower = shares[: len(HIGH)], shares[len(HIGH) :]
    is_above = max(share.lower for share in lower) > min(share.upper for share in high)
    is_below = max(share.estimate for share in lower) < min(share.estimate for share in high)
    return settled(
        fails=is_above or any(share.upper <= 0.5 for share in high),
        holds=is_below and all(share.lower > 0.5 for share in high),
    )


@reading("scores/best minus top 5 per mille", "scores/mean over chance")
def _few(fall: Interval, mean: Interval) -> Verdict:
    return settled(fails=fall.upper < 0.1 or mean.lower > 2, holds=fall.lower >= 0.1 and mean.upper <= 1.5)


@reading("knockout/capabilities hurt most, above random and matched")
def _ablation(shown: Interval) -> Verdict:
    return settled(fails=shown.estimate <= 0.5, holds=shown.estimate >= 5 / 6)


@reading("residents/own effect kept", "residents/collateral kept", "residents/collateral kept without as many others")
def _residents(own: Interval, collateral: Interval, others: Interval) -> Verdict:
    return settled(
        fails=collateral.lower > 0.5,
        holds=own.lower >= 0.5 and collateral.upper <= 0.5 and others.estimate > collateral.upper,
    )


@reading(*(f"experts/cells beyond chance, {kind}" for kind in (*CLUSTERED, "random")))
def _partitionable(weights: Interval, coactivation: Interval, random: Interval) -> Verdict:
    better = max(weights.estimate, coactivation.estimate)
    return settled(fails=better < 0.5, holds=better >= 0.9 and random.estimate <= 0.1)


@reading(*(f"routing/random minus {kind}, half, weakest draw" for kind in CLUSTERED))
def _clusters(*gains: Interval) -> Verdict:
    return settled(fails=max(gain.upper for gain in gains) <= 0, holds=min(gain.lower for gain in gains) > 0)


@reading("retrieval/retrieved minus best fixed", "retrieval/retrieved minus oracle", "retrieval/oracle minus base")
def _retrieval(fixed: Interval, oracle: Interval, over_base: Interval) -> Verdict:
    if over_base.lower >= 0:
        return "undecided"  # the bricks do nothing, so there is nothing to choose
    return settled(fails=fixed.lower > 0 or oracle.lower > 0.05, holds=fixed.upper <= 0 and oracle.upper <= 0.05)


@reading("merging/retention, average", "merging/retention, foreign base")
def _merging(kept: Interval, foreign: Interval) -> Verdict:
    return settled(fails=kept.upper < 0.5, holds=kept.lower >= 0.5 and foreign.upper < kept.lower)


@reading("edits/efficacy, general", "edits/neighbours unchanged, general", "edits/efficacy, random")
def _local(hit: Interval, same: Interval, random: Interval) -> Verdict:
    return settled(
        fails=hit.upper < 0.5 or same.upper < 0.8 or hit.estimate <= random.estimate,
        holds=hit.estimate >= 0.9 and same.lower >= 0.8 and hit.lower > random.upper,
    )


CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="sparse",
        statement="In every layer most neurons take little part in any one token.",
        paper="About 80 % of neurons have a normalised indicator below 0.2 in all layers, both models (section 4.2).",
        quantity="Share of neurons, over tokens, whose output magnitude is below 0.2 of the token's largest; mean of "
        "layers and the least layer, over draws of texts.",
        rule="Holds if the mean is 0.80 or more and the least layer 0.70 or more with their intervals; fails if an "
        "interval lies below.",
        decide=_sparse,
    ),
    Claim(
        id="masking-is-free",
        statement="Leaving out the weakest 70 % of neurons by activation, or 80 % by magnitude, costs almost nothing.",
        paper="Nearly no loss up to 70 % and 80 % on all seven functionalities (section 4.2).",
        quantity="Relative rise of the loss over texts of all capabilities, masked token by token.",
        rule="Holds if both intervals end at 2 % or below; fails if one begins above.",
        decide=every(
            at_most("masking/loss at 70 % by activation", ALMOST_NOTHING),
            at_most("masking/loss at 80 % by magnitude", ALMOST_NOTHING),
        ),
    ),
    Claim(
        id="magnitude-beats-activation",
        statement="Output magnitude tells better than activation which neurons can be left out.",
        paper="Magnitude stays free up to 80 %, activation up to 70 % (section 4.2).",
        quantity="Loss masked by activation less loss masked by magnitude at 70 %, nats per token, paired by text.",
        rule="Holds if the interval lies above 0; fails if it lies at or below 0.",
        decide=above("masking/activation minus magnitude, 70 %"),
    ),
    Claim(
        id="functional-neurons",
        statement="In every layer some neuron tells the texts of a capability far better than chance.",
        paper="The best score of every layer is far above mean and random (section 4.3, figure).",
        quantity="Share of layers whose best neuron scores above the 99.9 % quantile of the best of the same neurons "
        "under permuted labels; the capability with the smallest share, mean over draws; and the same for one set of "
        "shuffled labels.",
        rule="Holds if the least share is 0.9 or more and that of shuffled labels 0.05 or less; fails if the least "
        "share is below 0.75 or no larger than for shuffled labels.",
        decide=_best,
    ),
    Claim(
        id="high-in-most-layers",
        statement="Neurons for code, mathematics and translation score above 0.8 in most layers, others lower.",
        paper="Coding, Math and Translation above 0.8 in most layers (section 4.3).",
        quantity="Share of layers whose best neuron scores above 0.8 (average precision; chance one in six), over "
        "draws of texts.",
        rule="Holds if the three intervals lie above one half and the largest share of the others is below the three; "
        "fails if one of the three lies at or below one half, or another capability lies above one of them.",
        decide=_most_layers,
    ),
    Claim(
        id="few-neurons",
        statement="Few neurons are specialised: scores fall steeply, and their mean is near chance.",
        paper="A large gap from the best to the best 5 per mille; their mean equals random (section 4.3).",
        quantity="Best score of a layer less that of its best 5 per mille; mean score over chance; over draws.",
        rule="Holds if the fall is 0.1 or more and the mean at most 1.5 times chance with their intervals; fails if "
        "the fall's interval lies below 0.1 or the mean's above 2.",
        decide=_few,
    ),
    Claim(
        id="knockout-is-specific",
        statement="Switching off a capability's neurons hurts that capability most.",
        paper="The own effect is the largest of its row in 13 of 14 rows (table of section 4.3); no random baseline.",
        quantity="Share of capabilities whose own loss rises more than the mean of the others, more than under random "
        "sets of the same number, and more than under a set matched in magnitude: all three intervals above 0 in "
        "every draw.",
        rule="Holds for five of six or more; fails for half or fewer.",
        decide=_ablation,
    ),
    Claim(
        id="residents-cause-collateral",
        statement="What a set hurts besides its own capability is the doing of neurons that take part everywhere.",
        paper="The authors' guess for the two rows that hurt everything (section 4.3).",
        quantity="In the two sets of largest collateral of each draw: own effect and collateral that are left, as "
        "shares, when the neurons that fire at half of all tokens are taken out; and when as many others are.",
        rule="Holds if at least half of the own effect and at most half of the collateral stay (intervals), and more "
        "stays without as many others; fails if more than half of the collateral stays.",
        decide=_residents,
    ),
    Claim(
        id="sets-are-apart",
        statement="The neurons of different capabilities overlap less than random sets.",
        paper="Overlaps of 0.00 to 0.09, most 0.00 to 0.02, random 0.05; above it only Linguistic with Translation.",
        quantity="Mean overlap of the best 5 % of two capabilities over all pairs, mean over draws, bootstrap over "
        "pairs; random is 0.05.",
        rule="Holds if the interval lies below 0.05; fails if it lies at or above.",
        decide=below("overlap/mean of pairs", 0.05),
    ),
    Claim(
        id="partitionable",
        statement="Grouping neurons without knowing capabilities collects the neurons of a capability in few groups.",
        paper="Left to future work in this paper; its predecessor shows it for T5 and a mixture of experts.",
        quantity="Share of capabilities and draws with more functional experts (p <= 0.001 each) than 99 % of random "
        "partitions, for groups by weights and by co-activation, and for one random partition.",
        rule="Holds if the better of the two is 0.9 or more and the random one 0.1 or less; fails if both are below "
        "one half.",
        decide=_partitionable,
    ),
    Claim(
        id="routing-keeps-quality",
        statement="A quarter of the experts, chosen by a fitted router, keeps the quality of the dense model.",
        paper="Survey: MoEfication keeps over 95 % with 10 to 30 % of FFN weights (ReLU models, trained routers).",
        quantity="Relative rise of the loss with a quarter of the experts a token; the best of three partitions with "
        "a ridge router, no training of the model.",
        rule="Holds if the interval ends at 5 % or below; fails if it begins above.",
        decide=at_most("routing/loss at a quarter, best fitted router", 0.05),
    ),
    Claim(
        id="clusters-beat-lots",
        statement="Experts made of neurons that belong together lose less than experts by lot.",
        paper="Survey (MoEfication); the paper partitions nothing itself.",
        quantity="Loss with half of the experts of a random partition less that of a clustered one, both chosen by "
        "their oracle; nats per token, paired by text; the weakest of the draws of the random partition.",
        rule="Holds if both kinds of clusters lie above 0; fails if both lie at or below.",
        decide=_clusters,
    ),
    Claim(
        id="retrieval",
        statement="A brick retrieved for each input does at least as well as one fixed brick, near the right choice.",
        paper="Survey (retrieval of adapters); no figure of its own.",
        quantity="Nats per token with the retrieved adapter less those with the best single one, and less those with "
        "the input's own; paired over texts of three capabilities and all draws.",
        rule="Undecided if the right adapters do not beat the base; holds if the first interval ends at 0 or below, "
        "the second at 0.05 or below; fails if the first begins above 0 or the second above 0.05.",
        decide=_retrieval,
    ),
    Claim(
        id="merging",
        statement="Averaging bricks of one base keeps most of what each could do.",
        paper="Survey (linear mode connectivity); no figure of its own.",
        quantity="Share of an adapter's gain on its own texts that the average of three keeps; over adapters and "
        "draws; beside the same adapters reordered for a base of the same function with its neurons in another order.",
        rule="Holds if the interval begins at one half or above and that of the foreign base ends below it; fails if "
        "it ends below one half.",
        decide=_merging,
    ),
    Claim(
        id="subtracting",
        statement="Subtracting a brick takes its ability away.",
        paper="Survey (task arithmetic, detoxification); no figure of its own.",
        quantity="Rise of the loss on the adapter's own texts when it is subtracted, less the rise on those of the "
        "two others; over texts and draws.",
        rule="Holds if the interval lies above 0; fails if it lies at or below.",
        decide=above("merging/negation, own minus others"),
    ),
    Claim(
        id="editing-is-local",
        statement="Editing one FFN changes one fact and leaves others alone.",
        paper="Survey (ROME, MEMIT); no figure of its own.",
        quantity="Capitals that the model knows, edited one at a time at a layer chosen on other facts: share whose "
        "new answer is likelier than the old; share of neighbours with the same likeliest next token; and efficacy of "
        "the same change along a random key.",
        rule="Holds if efficacy is 0.9 or more and above that of the random key, and 80 % of the neighbours stay "
        "(interval); fails if efficacy lies below one half or no higher than for the random key, or the neighbours "
        "below 80 %.",
        decide=_local,
    ),
    Claim(
        id="second-moment-helps",
        statement="Weighing keys by their second moment over general text keeps an edit more local than plain keys.",
        paper="The closed form of ROME, which the paper surveys.",
        quantity="Share of neighbours unchanged with the second moment less that with the identity, paired by fact.",
        rule="Holds if the interval lies above 0; fails if it lies at or below.",
        decide=above("edits/unchanged, general minus identity"),
    ),
    Claim(
        id="growing",
        statement="A model can be grown without losing anything, and what was added learns.",
        paper="Survey (Net2Net, LLaMA-Pro, upcycling); no figure of its own.",
        quantity="Largest difference of a logit at the start over four ways to grow; after training only new neurons "
        "on German: change of the loss on new German texts and on old texts, nats per token, over texts and draws.",
        rule="Holds if the first is at most 1e-4, German gets better and old texts worse by 0.01 at most (intervals); "
        "fails if one of the three lies on the other side.",
        decide=every(
            at_most("growth/largest logit difference", 1e-4),
            below("growth/new, new neurons"),
            at_most("growth/old, new neurons", 0.01),
        ),
    ),
    Claim(
        id="saves-computation",
        statement="Running only the parts that are needed saves computation at equal quality.",
        paper="The first of the five benefits that the paper promises; no figure of its own.",
        quantity="Time of a decoded token, dense over the fastest configuration whose loss on texts of its capability "
        "rises by at most 2 % (interval); 1 where there is none.",
        rule="Holds if the interval lies above 1; fails if it lies at or below.",
        decide=above("saving/time ratio at equal quality", 1.0),
    ),
)
