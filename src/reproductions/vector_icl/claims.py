"""The claims of Vector-ICL (arXiv 2410.05629) with the rules that decide them at laptop scale, written before runs.

The paper's figures were read off its main figure, to about 0.3 points. Quantities, thresholds and controls are ours.
A rule reads intervals only, but for effects that must also be large.
"""

from armillary.numerics.intervals import Interval
from armillary.records.claims import Claim, Rule, Verdict, above, every, reading, settled

GAP = 0.3
"""Nats a token by which a text must be likelier behind its own vector than behind another's."""

IN_CONTEXT, NO_CONTEXT = 0.20, 0.05
TUNED, NOT_TUNED = 0.10, 0.03
LINEAR, GATED = 0.02, 0.05
NEAR, FAR = -0.10, -0.25
"""Pairs of accuracies between which a claim stays undecided: wider ones settle less, but less by chance."""

COPIES = 0.8
"""Accuracy from symbols below which a language model is too small to learn labels in context at all."""


_STARTS = ("paper's start", "warm start")
_SLOPES = ("digits/slope in shots, least of the seeds", "numbers/slope of error, worst of the seeds")
_TEXT = ("series/vectors minus text", "molecules/vectors minus text")


def _large(name: str, large: float, small: float) -> Rule:
    """Holds when the interval is above 0 and the estimate is large, fails when the interval ends below ``small``."""

    @reading(name)
    def decide(gain: Interval) -> Verdict:
        return settled(fails=gain.upper < small, holds=gain.lower > 0 and gain.estimate >= large)

    return decide


@reading(*(f"texts/{other} minus true, {start}" for other in ("shuffled", "soft prompt") for start in _STARTS))
def _pretrained(*intervals: Interval) -> Verdict:
    gaps, soft = intervals[: len(_STARTS)], intervals[len(_STARTS) :]
    holds = all(gap.estimate >= GAP for gap in gaps) and all(gain.lower > 0 for gain in soft)
    return settled(fails=any(gap.lower <= 0 for gap in gaps), holds=holds)


@reading(*_TEXT)
def _beats_text(*gains: Interval) -> Verdict:
    return settled(fails=all(gain.upper <= 0 for gain in gains), holds=any(gain.lower > 0 for gain in gains))


@reading("topics/mlp minus linear")
def _linear(gain: Interval) -> Verdict:
    return settled(fails=gain.lower > LINEAR, holds=gain.upper <= GATED and gain.estimate <= LINEAR)


@reading("encoders/rank correlation")
def _encoders(rank: Interval) -> Verdict:
    return settled(fails=rank.estimate <= 0, holds=rank.estimate > 0.8 and rank.lower > 0)


@reading(
    "digits/vectors minus 1-NN", "series/vectors minus 1-NN, episodes", "digits/symbols", "series/symbols, episodes"
)
def _specialist(digits: Interval, series: Interval, *copies: Interval) -> Verdict:
    if any(copied.upper < COPIES for copied in copies):
        return "undecided"
    losses = (digits, series)
    return settled(fails=any(loss.upper < FAR for loss in losses), holds=all(loss.lower >= NEAR for loss in losses))


@reading(*_TEXT, "series/tokens, text over vectors", "molecules/tokens, text over vectors")
def _one_token(series: Interval, molecules: Interval, *lengths: Interval) -> Verdict:
    gains = (series, molecules)
    holds = all(gain.lower >= 0 for gain in gains) and all(length.estimate > 1 for length in lengths)
    return settled(fails=all(gain.upper < 0 for gain in gains), holds=holds)


CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="pretraining-enables",
        statement="After pretraining of the projector a text is likelier behind its own vector than behind another's.",
        paper="Pretraining on plain text is what makes vectors readable; no figure of the loss could be had.",
        quantity="R1: mean loss a token of glosses of WordNet behind another gloss's vector, less that behind their "
        "own, from the paper's random start and from the ridge start (ours); the same against a soft prompt.",
        rule="Holds if both gaps are 0.3 nats (ours) or more with intervals above 0, and own vectors do better than "
        "the soft prompt (intervals); fails if the interval of a gap holds 0 or lies below.",
        decide=_pretrained,
    ),
    Claim(
        id="shots-help",
        statement="More demonstrations make answers better.",
        paper="Accuracy of text classification with the pretrained projector from 48.8 % at 1 to 58.4 % at 50 shots; "
        "relative error of regression from 18.4 % at 2 to 2.6 % at 100.",
        quantity="R4 with episodic labels: slope of accuracy in log2 of the shots; R3: minus the slope of the "
        "relative error; each the worst of the seeds, interval over queries (R3: episodes), "
        "which in R4 share the demonstrations of their episode.",
        rule="Holds if both intervals lie above 0; fails if one lies at or below.",
        decide=every(*map(above, _SLOPES)),
    ),
    Claim(
        id="tuning-helps",
        statement="A projector tuned on the task does better than one that was pretrained alone.",
        paper="Text classification at 1 shot 83.9 % tuned, 48.8 % pretrained; at 50 shots 86.2 % and 58.4 %.",
        quantity="R2, six topics: accuracy at 4 shots a class, tuned less pretrained, paired over queries.",
        rule="Holds if the gain is 10 points (ours) or more with an interval above 0; fails if the interval ends "
        "below 3 points.",
        decide=_large("topics/tuned minus pretrained", TUNED, NOT_TUNED),
    ),
    Claim(
        id="beats-text-where-text-is-poor",
        statement="Where text carries the input badly, vectors do better than few-shot text with the same model.",
        paper="Molecule captions at 40 shots 23.9 BLEU tuned against 15.5; of series no text could be shown.",
        quantity="R5: accuracy by vectors (tuned on the training parts) less that by the series as 24 whole numbers, "
        "three sets pooled; R6: F1 of the caption's parts by vectors (tuned) less that by SMILES; same "
        "demonstrations, most shots, paired over queries.",
        rule="Holds if one of the intervals lies above 0; fails if both lie at or below.",
        decide=_beats_text,
    ),
    Claim(
        id="regression",
        statement="Functions of two numbers are answered better from digit vectors than from text.",
        paper="Mean relative error at 10 shots 7.1 % by vectors and 16.1 % by text; at 100 shots 2.6 and 6.8 %.",
        quantity="R3: mean of |error| / (value + 1) at 8 shots, text less vectors, paired over episodes.",
        rule="Holds if the interval lies above 0; fails if it lies at or below.",
        decide=above("numbers/text minus vectors at 8"),
    ),
    Claim(
        id="linear-is-enough",
        statement="A linear projector does as well as a gated one on text.",
        paper="A linear matrix works most of the time (the authors' notes on their code); no figure could be had.",
        quantity="R2: accuracy at 4 shots a class, gated less linear, both tuned without pretraining, paired.",
        rule="Holds if the gain of the gated one is 2 points or less and its interval ends at 5 points (ours) or "
        "below; fails if the interval begins above 2 points.",
        decide=_linear,
    ),
    Claim(
        id="better-encoders",
        statement="The better the encoder, the better the answers.",
        paper="Stronger embedding models do better (its analysis of encoders); no figure could be had.",
        quantity="R2 with four encoders: rank correlation between the accuracy of a logistic regression on all "
        "training vectors and that of Vector-ICL at 4 shots a class; bootstrap over queries.",
        rule="Holds if it is above 0.8 with an interval above 0 (ours); fails if it is 0 or below.",
        decide=_encoders,
    ),
    Claim(
        id="in-context",
        statement="The demonstrations' labels are read: with labels shuffled among them, answers get worse.",
        paper="The name of the method; such a control is not known to us.",
        quantity="R4 with words drawn anew for the classes of each episode: accuracy at most shots less that with "
        "shuffled labels; seeds pooled, paired over queries.",
        rule="Holds if it is 20 points (ours) or more with an interval above 0; fails if the interval ends below 5.",
        decide=_large("digits/vectors minus shuffled", IN_CONTEXT, NO_CONTEXT),
    ),
    Claim(
        id="fixed-labels-hide-a-classifier",
        statement="Where labels keep their names in training, demonstrations matter less: the projector has become "
        "the classifier.",
        paper="Ours: the curve of tuned projectors over shots is nearly flat (83.9 to 86.2 %).",
        quantity="R4: gain over shuffled labels at most shots, as a share of what is possible above chance, with "
        "episodic labels less with fixed ones. (Shares since the first run, which compared 4 classes with 10.)",
        rule="Holds if the interval lies above 0; fails if it lies at or below.",
        decide=above("digits/gain over shuffled, episodic minus fixed"),
    ),
    Claim(
        id="near-a-specialist",
        statement="From the same demonstrations it is about as good as the nearest neighbour.",
        paper="Above domain-specific models on series (83.1 % against 72.9 %) and graphs (43.5 against 35.9 F1), "
        "with tuned projectors.",
        quantity="R4 and R5 with episodic labels, most shots: accuracy less that of 1-NN on the same vectors, paired.",
        rule="Undecided where the model can't even copy labels from classes that stand there as text (below 80 %, "
        "interval): too small. Holds if both intervals begin at -10 points (ours) or above; fails if one "
        "ends below -25.",
        decide=_specialist,
    ),
    Claim(
        id="one-token-suffices",
        statement="One token an input is enough: prompts are shorter at no loss where text carries the input badly.",
        paper="One input is exactly one token, whatever its length.",
        quantity="R5 and R6: the differences to text of above, and tokens of a demonstration as text over as vector.",
        rule="Holds if both intervals begin at 0 or above and text is longer in both; fails if both intervals lie "
        "below 0.",
        decide=_one_token,
    ),
)
