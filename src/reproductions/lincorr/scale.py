"""How large each preset of the LinCorr reproduction is; importable without torch."""

from dataclasses import dataclass, replace

from armillary.cli.reproduce import Preset

RELATIONS = (
    "city-country",
    "country-continent",
    "country-language",
    "country-currency",
    "add1-add2",
    "add1-times2",
    "fruit-color",
    "ceo-company",
    "city-color",
)
"""Related, arithmetic, weak and control pairs, chosen before the runs."""

JUDGED = ("city-country", "city-color", "add1-add2")
"""Those that claims compare over splits; the others are fitted at the first, for the claim on gradients."""

KNOWLEDGE = {
    "city-country": ("{} is a city in the country of", "The country of {} has a city called"),
    "add1-add2": ("{}+1=", "{}-1="),
}
"""Relation -> how its facts are asked directly: a source word's target, and a target word's source."""

PAIRS = (("Shanghai", "China"), ("Tokyo", "Japan"), ("Paris", "France"))
"""The paper's three pairs of the vocabulary experiment (Table 7)."""

RATES = (1e-5, 5e-5, 2e-4)
"""Learning rates tried for the edits, smallest first; the first that takes on every pilot word is used."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Sizes of one preset; the defaults are a laptop's: about 25 minutes on one core for the smaller model."""

    subjects: int = 1800
    """Vocabulary items in the slot; the paper draws 10,000."""

    splits: int = 3
    """Splits of the subjects into a half that fits and a half that tests."""

    replicates: int = 1000
    gradient_subjects: int = 3
    gradient_targets: int = 4
    """A backward pass for each of these targets, twice, at each of the subjects, in every relation."""

    tunes: int = 3
    """Fine-tunes, each of other texts in another order, scored on other subjects of the test half."""

    tune_subjects: int = 400
    """Subjects on which the old map is scored after each."""

    steps: int = 50
    """In a pilot of the smaller model on other texts the loss fell by 0.21 nats after 20 steps and 0.27 after 60; at
    four times the rate by 0.12 after 20."""

    edits: int = 16
    pilots: int = 3
    """Words on which the learning rate of the edits is chosen; they take no further part."""

    edit_steps: int = 30
    """Updates of an edit at most; one that needs more has failed."""

    vocabulary_seeds: int = 4
    vocabulary_names: int = 512
    """Names in the vocabulary experiment, of which 128 are held out as in the paper."""

    vocabulary_steps: int = 300
    """Enough in a pilot of another seed: 0.999 of the taught texts were learned, 0.79 after half as many."""


LAPTOP = Scale()
SCALES: dict[Preset, Scale] = {
    # As little as lets every stage and every measure run; fewer names would leave too few to train on.
    "quick": Scale(
        subjects=240,
        splits=2,
        replicates=100,
        gradient_subjects=2,
        gradient_targets=2,
        tunes=2,
        steps=4,
        edits=6,
        pilots=1,
        edit_steps=10,
        vocabulary_seeds=2,
        vocabulary_names=300,
        vocabulary_steps=30,
    ),
    "laptop": LAPTOP,
    "gpu": replace(
        LAPTOP,
        subjects=10_000,
        splits=5,
        replicates=2000,
        gradient_subjects=32,
        gradient_targets=16,
        tunes=5,
        steps=1000,
        edits=120,
        pilots=5,
        edit_steps=60,
        vocabulary_seeds=10,
    ),
}
