"""The claims of Vector-ICL (arXiv 2410.05629) with the rules that decide them at laptop scale, written before runs.

The paper's figures were read off its main figure, to about 0.3 points. Quantities, thresholds and controls are ours.
Accuracy is balanced: queries are as many of each class, and what is subtracted from the scores of labels takes out
what a label has whatever the input (calibrated), in the same way for vectors and text.
"""

from armillary.records.claims import Claim, Control, above, above_each, at_most
from reproductions.vector_icl.texts import PAPER, WARM

GAP = 0.1
"""Nats a token by which a text must be likelier: one part in ten, the least that is of use."""

POINTS = 0.05
"""Of balanced accuracy: the least effect of use, and what counts as no loss."""

LEARNED = 0.10
"""Above chance: with less a projector tells nothing that could be compared."""

NEAR = -0.10
"""What a specialist may be ahead."""

STILL_FALLING = 0.2
"""Nats a learned token by which the last quarter of the steps may be below the third."""

EPISODES_FALLING = 0.3
"""The same of episodes: their batches differ more, in how many examples a sequence has and so in what can be known."""


def _ended(measure: str, bound: float = STILL_FALLING) -> Control:
    return Control(
        what=f"training had ended: the loss of the last quarter of the steps is at most {bound} nats below that of "
        "the third",
        rule=at_most(measure, bound),
    )


def _learned(name: str, arm: str = "vectors") -> Control:
    return Control(
        what="the trained arm itself learned the task: 10 points above chance",
        rule=above(f"{name}/{arm} minus chance", LEARNED),
        otherwise="model too small",
    )


def _pretraining(start: str, steps: str, id: str, statement: str, paper: str) -> Claim:
    others = tuple(f"texts/{other} minus true, {start}" for other in ("shuffled", "soft prompt"))
    return Claim(
        id=id,
        statement=statement,
        paper=paper,
        quantity=f"R1 from {start}, {steps}: mean loss a token of held-out glosses of WordNet "
        "behind another gloss's vector and behind a soft prompt (one vector for all, 50 steps), less that behind "
        "their own.",
        rule="Holds if both intervals lie above 0.1 nats (one part in ten likelier a token, the least of use); fails "
        "if one lies at or below.",
        decide=above_each(others, GAP),
        controls=(
            Control(
                what="training lowered the loss of held-out texts behind their own vectors",
                rule=above(f"texts/untrained minus trained, {start}"),
            ),
            _ended(f"texts/loss still falling, {start}"),
        ),
        null="Other texts' vectors, drawn so that none keeps its own; the soft prompt; the projector before training, "
        "which stands beside.",
        needs=(f"texts/shuffled minus true, untrained {start}",),
    )


_FAIR = ("series/tuned vectors minus tuned text", "molecules/tuned vectors minus tuned text")
_TUNED_TEXT = (
    "the text tuned as the vectors were: a logistic regression on the numbers that the text tells (series), the "
    "caption of the training molecule whose SMILES is nearest (molecules)"
)
_CARRIERS = (
    _learned("series"),
    Control(
        what="captions by vectors are better than always the most frequent one",
        rule=above("molecules/vectors minus most frequent"),
        otherwise="model too small",
    ),
)

CLAIMS: tuple[Claim, ...] = (
    _pretraining(
        PAPER,
        "200 steps of 16 as specified",
        "pretraining-enables",
        "After pretraining of the projector a text is likelier behind its own vector than behind another's.",
        "Pretraining on plain text is what makes vectors readable; no figure of the loss could be had.",
    ),
    _pretraining(
        WARM,
        "100 steps of 16, since it begins near its end",
        "ridge-start-enables",
        "The same, where pretraining begins with a ridge regression onto token embeddings at their scale.",
        "Ours: the paper begins with random weights.",
    ),
    Claim(
        id="shots-help",
        statement="More demonstrations make answers better.",
        paper="Accuracy of text classification with the pretrained projector from 48.8 % at 1 to 58.4 % at 50 shots.",
        quantity="R4, episodes in which words that mean nothing stand for four digits: slope of balanced, calibrated "
        "accuracy in log2 of the shots; over projector seeds, each with its own episodes.",
        rule="Holds if the interval lies above a point a doubling (less would be of no use); fails if it lies at or "
        "below.",
        decide=above("digits/slope in shots", 0.01),
        controls=(_learned("digits"),),
        null="The slope behind shuffled labels, drawn for each episode, stands beside.",
        needs=("digits/slope in shots, shuffled labels",),
    ),
    Claim(
        id="shots-help-numbers",
        statement="More points of an unknown function make its values better.",
        paper="Relative error of regression from 18.4 % at 2 to 2.6 % at 100 points.",
        quantity="R3: minus the slope of the relative error in log2 of the shots; over new functions.",
        rule="Holds if the interval lies above 0.01 a doubling (less is of no use); fails if it lies at or below.",
        decide=above("numbers/slope of error", 0.01),
        controls=(
            _ended("numbers/loss still falling"),
            Control(
                what="values by vectors are better than the mean of the demonstrations'",
                rule=above("numbers/mean minus vectors at 8"),
                otherwise="model too small",
            ),
        ),
        null="A model that reads nothing gives the mean of what it saw: its error stands beside.",
        needs=("numbers/error at 8, vectors", "numbers/error at 8, mean"),
    ),
    Claim(
        id="tuning-helps",
        statement="A projector tuned on the task does better than one that was pretrained alone.",
        paper="Text classification at 1 shot 83.9 % tuned, 48.8 % pretrained; at 50 shots 86.2 % and 58.4 %.",
        quantity="R2, six topics of glosses: balanced, calibrated accuracy at 4 shots a class, tuned less pretrained, "
        "on the same queries; over seeds.",
        rule="Holds if the interval lies above 5 points (the least of use); fails if it lies at or below.",
        decide=above("topics/tuned minus pretrained", POINTS),
        controls=(_learned("topics"),),
        null="A random projector and shuffled labels stand beside.",
        needs=(
            "topics/accuracy at 8, vectors",
            "topics/vectors minus shuffled",
            "topics/vectors minus random projector",
        ),
    ),
    Claim(
        id="untuned-beats-text",
        statement="From the demonstrations alone, vectors of a pretrained projector do better than the text itself.",
        paper="Not on classification, by its own curves (58.4 % pretrained, 79.4 % by text at 50 shots); yes on "
        "molecules (18.3 BLEU against 15.5) and numbers.",
        quantity="R2: balanced, calibrated accuracy of the pretrained projector (glosses, no topics) less that of "
        "the glosses as text; same model, demonstrations, queries and calibration, 8 shots a class; over seeds.",
        rule="Holds if the interval lies above 0; fails if it lies at or below. The fair race: neither side has seen "
        "a label but those of its demonstrations.",
        decide=above("topics/pretrained minus text"),
        controls=(
            Control(
                what="one of the two reads the task: pretrained vectors or text are 10 points above chance",
                rule=above("topics/better of pretrained and text minus chance", LEARNED),
                otherwise="model too small",
            ),
        ),
        null="A random projector stands beside.",
        needs=(
            "topics/accuracy at 8, pretrained",
            "topics/accuracy at 8, text",
            "topics/accuracy at 8, random projector",
        ),
    ),
    Claim(
        id="beats-text-where-text-is-poor",
        statement="Where text carries the input badly, vectors do better than text that was given the same training.",
        paper="Molecule captions at 40 shots 23.9 BLEU tuned against 15.5 by few-shot text, which had no training; of "
        "series no text could be shown.",
        quantity=f"R5, three sets of series: balanced, calibrated accuracy by vectors less that by {_TUNED_TEXT}; R6: "
        "F1 of the caption's parts. Same training inputs and queries; over seeds.",
        rule="Holds if both intervals lie above 0; fails if one lies at or below. Against few-shot text, which has "
        "seen no training label, stands beside: that race is unfair.",
        decide=above_each(_FAIR),
        controls=_CARRIERS,
        null="A random projector stands beside.",
        needs=(
            "series/vectors minus text",
            "molecules/vectors minus text",
            "series/vectors minus random projector",
            "molecules/vectors minus random projector",
        ),
    ),
    Claim(
        id="regression",
        statement="Functions of two numbers are answered better from digit vectors than from text.",
        paper="Mean relative error at 10 shots 7.1 % by vectors and 16.1 % by text; at 100 shots 2.6 and 6.8 %.",
        quantity="R3, 200 steps as specified, of 12 points: mean of |error| / (value + 1) at 8 shots, by text less "
        "by vectors, same episodes; over new functions.",
        rule="Holds if the interval lies above 0; fails if it lies at or below.",
        decide=above("numbers/text minus vectors at 8"),
        controls=(
            _ended("numbers/loss still falling"),
            Control(
                what="one of the two reads the numbers: vectors or text are better than the demonstrations' mean",
                rule=above("numbers/mean minus better of vectors and text at 8"),
                otherwise="model too small",
            ),
        ),
        null="A random projector, exchanged values and the mean of the demonstrations stand beside.",
        needs=(
            "numbers/random projector minus vectors at 8",
            "numbers/shuffled minus vectors at 8",
            "numbers/mean minus vectors at 8",
            "numbers/mean minus text at 8",
        ),
    ),
    Claim(
        id="linear-is-enough",
        statement="A linear projector does as well as a gated one on text.",
        paper="A linear matrix works most of the time (the authors' notes on their code); no figure could be had.",
        quantity="R2: balanced, calibrated accuracy at 4 shots a class, gated less linear, both tuned without "
        "pretraining, on the same queries; over seeds.",
        rule="Holds if the interval of the gated one's gain ends at 5 points (the least of use) or below; fails if it "
        "begins above.",
        decide=at_most("topics/mlp minus linear", POINTS),
        controls=(_learned("topics", "linear"),),
        null="No difference: each projector has a seed of its own, and the interval is over these.",
    ),
    Claim(
        id="better-encoders",
        statement="The better the encoder, the better the answers.",
        paper="Stronger embedding models do better (its analysis of encoders); no figure could be had.",
        quantity="R2: balanced, calibrated accuracy at 4 shots a class with MiniLM's vectors less that with hashed "
        "words; over seeds. They were the best and the worst of four by a logistic regression in an earlier run.",
        rule="Holds if the interval lies above 5 points (the least of use); fails if it lies at or below.",
        decide=above("encoders/better minus worse", POINTS),
        controls=(
            Control(
                what="the encoders differ: 5 points between logistic regressions on all training vectors",
                rule=above("encoders/better minus worse, probes", POINTS),
            ),
            _learned("topics", "linear"),
        ),
        null="No difference: each projector has a seed of its own, and the interval is over these.",
    ),
    Claim(
        id="in-context",
        statement="The demonstrations' labels are read: with labels shuffled among them, answers get worse.",
        paper="The name of the method; such a control is not known to us.",
        quantity="R4, episodes with words drawn anew for the classes: balanced, calibrated accuracy at 5 shots a "
        "class less that behind shuffled labels, same queries; over projector seeds.",
        rule="Holds if the interval lies above 5 points (the least of use); fails if it lies at or below.",
        decide=above("digits/vectors minus shuffled", POINTS),
        controls=(_learned("digits"),),
        null="Shuffled labels, drawn for each episode; a random projector stands beside.",
        needs=("digits/accuracy at 5, vectors", "digits/vectors minus random projector"),
    ),
    Claim(
        id="fixed-labels-hide-a-classifier",
        statement="Where labels keep their names in training, demonstrations matter less: the projector has become "
        "the classifier.",
        paper="Ours: the curve of tuned projectors over shots is nearly flat (83.9 to 86.2 %).",
        quantity="R4, the same episodes once with words drawn anew and once with the digits' names, each by the "
        "projector trained so: what right labels gain over shuffled ones at 5 shots a class, as a share of what is "
        "above chance; drawn words less names, over seeds.",
        rule="Holds if the interval lies above 0; fails if it lies at or below.",
        decide=above("digits/gain over shuffled, episodic minus fixed"),
        controls=(_learned("digits"), _learned("digits", "fixed names")),
        null="Shuffled labels, drawn for each episode, of either projector.",
        needs=("digits/vectors minus shuffled", "digits/fixed names minus shuffled"),
    ),
    Claim(
        id="near-a-specialist",
        statement="From the same demonstrations it is about as good as the nearest neighbour.",
        paper="Above domain-specific models on series (83.1 % against 72.9 %) and graphs (43.5 against 35.9 F1), "
        "with tuned projectors.",
        quantity="R4, episodes, 5 shots a class: balanced, calibrated accuracy less that of 1-NN on the same vectors "
        "and demonstrations; over projector seeds.",
        rule="Holds if the interval lies above -10 points (ours: what a specialist may be ahead); fails if it lies at "
        "or below.",
        decide=above("digits/vectors minus 1-NN", NEAR),
        controls=(_ended("digits/loss still falling", EPISODES_FALLING), _learned("digits")),
        null="A random projector stands beside.",
        needs=(
            "digits/accuracy at 5, vectors",
            "digits/accuracy at 5, 1-NN",
            "digits/accuracy at 5, random projector",
        ),
    ),
    Claim(
        id="graphs-are-read",
        statement="Graphs of molecules are told apart from their vectors.",
        paper="F1 39.9 at 1 and 43.5 at 16 shots, a specialist 35.9, with a tuned projector.",
        quantity="R8, is there an aromatic ring with another atom than carbon: balanced, calibrated accuracy at 8 "
        "shots a class less chance; over projector seeds, each with its own draws. Every number of shots, calibrated "
        "and not, stands beside.",
        rule="Holds if the interval lies above 5 points (the least of use); fails if it lies at or below.",
        decide=above("graphs/vectors minus chance", POINTS),
        controls=(
            Control(
                what="the vectors tell it: a logistic regression on all of them is 10 points above chance",
                rule=above("graphs/logistic regression on all minus chance", LEARNED),
            ),
            _ended("graphs/loss still falling"),
        ),
        null="One answer for all gives chance, since accuracy is balanced; shuffled labels and a random projector "
        "stand beside.",
        needs=(
            *(f"graphs/accuracy at {k}, vectors{as_is}" for as_is in ("", ", uncalibrated") for k in (0, 1, 4, 8)),
            "graphs/vectors minus shuffled",
            "graphs/accuracy at 8, random projector",
        ),
    ),
    Claim(
        id="one-token-suffices",
        statement="One token an input is enough: prompts are shorter at no loss where text carries the input badly.",
        paper="One input is exactly one token, whatever its length.",
        quantity=f"R5 and R6: balanced, calibrated accuracy and F1 by vectors less that by {_TUNED_TEXT}; over seeds.",
        rule="Holds if both intervals lie above -5 points (no loss of use); fails if one lies at or below.",
        decide=above_each(_FAIR, -POINTS),
        controls=(
            *_CARRIERS,
            Control(what="text is longer, series", rule=above("series/tokens, text over vectors", 1)),
            Control(what="text is longer, molecules", rule=above("molecules/tokens, text over vectors", 1)),
        ),
        null="A random projector, which is as short, stands beside.",
        needs=("series/vectors minus random projector", "molecules/vectors minus random projector"),
    ),
)
