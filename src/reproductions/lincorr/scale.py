"""How large each preset of the LinCorr reproduction is; importable without torch."""

from dataclasses import dataclass

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
"""Related, arithmetic, weak and control pairs of the specification."""

PAIRS = (("Shanghai", "China"), ("Tokyo", "Japan"), ("Paris", "France"))
"""The paper's three pairs of the vocabulary experiment (Table 7)."""

SYMBOLS = (("S", "C"), ("T", "J"), ("P", "F"))
"""The paper's symbolic pairs."""

RATES = (1e-5, 5e-5, 2e-4)
"""Learning rates tried for the edits, smallest first; the first that takes on every pilot word is used."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Sizes of one preset."""

    subjects: int
    seeds: int
    replicates: int
    gradient_subjects: int
    gradient_targets: int
    steps: int
    looks: tuple[int, ...]
    """Steps of the fine-tune after which the old map is scored; the last is the end."""

    edits: int
    pilots: int
    edit_steps: int
    vocabulary_seeds: int
    vocabulary_names: int
    vocabulary_steps: int


SCALES: dict[Preset, Scale] = {
    "quick": Scale(
        subjects=240,
        seeds=2,
        replicates=100,
        gradient_subjects=2,
        gradient_targets=2,
        steps=4,
        looks=(2, 4),
        edits=6,
        pilots=1,
        edit_steps=10,
        vocabulary_seeds=2,
        vocabulary_names=300,
        vocabulary_steps=30,
    ),
    "laptop": Scale(
        subjects=2000,
        seeds=3,
        replicates=1000,
        gradient_subjects=8,
        gradient_targets=6,
        steps=300,
        looks=(30, 100, 300),
        edits=40,
        pilots=3,
        edit_steps=30,
        vocabulary_seeds=5,
        vocabulary_names=512,
        vocabulary_steps=500,
    ),
    "gpu": Scale(
        subjects=10_000,
        seeds=5,
        replicates=2000,
        gradient_subjects=32,
        gradient_targets=16,
        steps=1000,
        looks=(30, 100, 300, 1000),
        edits=120,
        pilots=5,
        edit_steps=60,
        vocabulary_seeds=10,
        vocabulary_names=512,
        vocabulary_steps=500,
    ),
}
