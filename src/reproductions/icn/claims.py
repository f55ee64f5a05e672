"""The claims of ICN (arXiv 2410.02284) with the rules that decide them at laptop scale, written before the runs.

The claims are the paper's; its result tables could not be read, so no figure of its own stands here. Quantities,
thresholds, nulls and controls are ours. A rule reads intervals only.
"""

from armillary.numerics.intervals import Interval
from armillary.records.claims import Claim, Verdict, above, reading, settled


@reading("clusters/within minus between", "clusters/capital letters in two clusters")
def _clusters(gap: Interval, capitals: Interval) -> Verdict:
    return settled(fails=gap.upper <= 0.05, holds=gap.lower > 0.2 and capitals.estimate >= 0.8)


@reading("spread/ratio to frequency-matched")
def _spread(ratio: Interval) -> Verdict:
    return settled(fails=ratio.upper <= 1, holds=ratio.estimate > 2 and ratio.lower > 1)


@reading("in-cluster/accuracy minus out, same ranks", "in-cluster/permutation p")
def _spurious(difference: Interval, permuted: Interval) -> Verdict:
    return settled(
        fails=difference.lower >= 0 or (difference.estimate >= 0 and permuted.estimate > 0.5),
        holds=difference.upper < 0 and permuted.estimate < 0.05,
    )


@reading("training/head over blocks", "training/spearman", "training/spearman, shuffled keys")
def _fixed(ratio: Interval, spearman: Interval, shuffled: Interval) -> Verdict:
    return settled(
        fails=ratio.lower >= 1 or spearman.upper <= shuffled.upper,
        holds=ratio.upper < 0.5 and spearman.lower > 0 and spearman.estimate > 0.3,
    )


@reading("open/distinct-2 minus static", "open/valid minus static")
def _diverse(gain: Interval, valid: Interval) -> Verdict:
    return settled(fails=gain.upper <= 0, holds=gain.lower > 0 and valid.lower > -0.1)


@reading("chains/vote minus static", "chains/vote, navigation", "chains/vote, static")
def _votes(gain: Interval, navigation: Interval, static: Interval) -> Verdict:
    if max(navigation.estimate, static.estimate) < 0.1:
        return "undecided"  # the model can't do the task at all
    return settled(holds=gain.lower >= 0, fails=gain.upper < 0)


CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="clusters",
        statement="The vocabulary's keys form clusters of tokens that belong together.",
        quantity="Mean centred cosine of pairs within a k-means cluster less that of pairs across (cosine k-means, "
        "about a cluster for every 100 tokens), and the share of bare capital letters in at most two clusters.",
        rule="Holds if the gap is above 0.2 with its interval and 80 % of the capitals lie in two clusters; fails if "
        "the gap's interval lies below 0.05.",
        decide=_clusters,
    ),
    Claim(
        id="spread",
        statement="The ranks below the top are filled with tokens from the clusters of the top tokens.",
        quantity="Share of ranks 11 to 100 in a cluster of ranks 1 to 10, over that of a draw matched by token id "
        "(ids follow frequency); ratio of sums over probes, bootstrap over probes.",
        rule="Holds if the ratio is above 2 and its interval above 1; fails if the interval lies at or below 1.",
        decide=_spread,
    ),
    Claim(
        id="top-better-than-middle",
        statement="Answers that begin with the top-ranked tokens are more accurate than those from the middle ranks.",
        quantity="Accuracy of ranks 1 to 10 less that of ranks 11 to 100, paired over probes.",
        rule="Holds if the interval lies above 0; fails if it lies at or below 0.",
        decide=above("ranks/top minus middle"),
    ),
    Claim(
        id="spurious-in-cluster",
        statement="In the middle ranks, tokens from the clusters of the top tokens are less accurate than others.",
        quantity="Accuracy in less accuracy out of the clusters within bands of 15 ranks (Mantel-Haenszel, bootstrap "
        "over probes), and the exact permutation test within those bands.",
        rule="Holds if the interval lies below 0 and p < 0.05; fails if it lies at or above 0, or the difference is "
        "not negative and p > 0.5.",
        decide=_spurious,
    ),
    Claim(
        id="navigation",
        statement="With explored answers in the context, the query moves away from the explored keys.",
        quantity="Fall of the explored first tokens' log2 rank under a list of their own answers, less that under an "
        "equally long list of another class; paired over probes, 10 items.",
        rule="Holds if the interval lies above 0 (they fall more than under a foreign list); fails if it lies at or "
        "below 0 (they fall less, or rise: copying).",
        decide=above("lists/own fall minus foreign fall, 10"),
        needs=("lists/own fall, 10",),
    ),
    Claim(
        id="more-correct-answers",
        statement="At an equal number of answers, navigation finds more different correct ones than the ranking.",
        quantity="Distinct correct answers by navigation less those of the static ranks, paired over probes.",
        rule="Holds if the interval lies above 0; fails if it lies at or below 0.",
        decide=above("answers/navigation minus static"),
        needs=("answers/navigation", "answers/static"),
    ),
    Claim(
        id="diverse-texts",
        statement="Open-ended texts are more diverse with navigation, and no less valid.",
        quantity="Distinct-2 with navigation less that of the static ranks at equal number, paired over instructions; "
        "validity is the share that are sentences in form.",
        rule="Holds if the interval lies above 0 and that of validity above -0.1; fails if it lies at or below 0.",
        decide=_diverse,
    ),
    Claim(
        id="self-consistency",
        statement="Votes over navigated chains of thought are at least as accurate as over branches of one prompt.",
        quantity="Accuracy of the vote of four paths with navigation less that without, paired over word problems.",
        rule="Undecided below 10 % accuracy either way (the model can't do the task); holds if the interval lies at "
        "or above 0, fails if below 0.",
        decide=_votes,
    ),
    Claim(
        id="fixed-keys",
        statement="Fine-tuning moves the keys far less than the rest, so that it lifts tokens near the target's key.",
        quantity="Relative change of the head over that of the blocks with all trained; Spearman of a token's change "
        "in log-probability with its key's cosine to the target's, head frozen, prompts held out; over targets.",
        rule="Holds if the ratio's interval lies below 0.5 and the correlation is above 0.3 with its interval above "
        "0; fails if the ratio lies at or above 1 or the correlation within that of shuffled keys.",
        decide=_fixed,
    ),
)
