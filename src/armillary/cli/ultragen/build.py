"""``armillary ultragen build TEXTS``: rows to reconstruct, sets that no text had, and pairs of a model's responses."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

import tyro

from armillary.cli.command import run_job
from armillary.errors import UsageError
from armillary.methods.ultragen.config import (
    Diversity,
    ExpansionConfig,
    PairConfig,
    SamplingConfig,
    SpaceConfig,
    Strategy,
)
from armillary.runs.pieces import pieces
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import DRY_MODEL, File, ModelSettings, OtherModel, at_least

if TYPE_CHECKING:
    from armillary.methods.ultragen.building import BuildPlan

TextsOrRows = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TEXTS")]

AR, TEST, SETS, TEST_SETS, PAIRS = "ar.jsonl", "test.jsonl", "sets.jsonl", "test_sets.jsonl", "pairs.jsonl"
"""Files of the run's folder."""


@dataclass(frozen=True, kw_only=True)
class UltragenBuildSettings(ModelSettings):
    """Make training data from texts: each text behind its own attributes, and sets of attributes that no text had.

    TEXTS is a file of JSON lines, CSV or Parquet with a text a row, or what `armillary ultragen derive` left, whose
    attributes are then taken. The folder holds ar.jsonl and, with --model, pairs.jsonl in TRL's columns, sets.jsonl,
    and what is held out: test.jsonl and test_sets.jsonl. `armillary ultragen train` reads it.
    """

    command: ClassVar[str] = "ultragen build"

    texts: TextsOrRows
    """File of texts (.jsonl, .csv, .tsv or .parquet)."""

    model: OtherModel = None
    """Model whose responses to the sets are paired, best of the tuned one; by default no pairs are made."""

    field: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Name under which a row holds its text; by default the first of text, content, document, response, completion."""

    limit: int | None = None
    """Read no more than the first so many texts."""

    n: int = 45
    """Attributes of a text at most."""

    most_words: int = 512
    """Words of a text; longer ones are cut at a sentence."""

    test_share: float = 0.2
    """Share of the texts, and of the sets, that is held out."""

    plain: bool = False
    """Write prompts as plain text, for a model without a chat template, and not as messages."""

    sets: int = 400
    """Sets that no text had; 0 makes none."""

    set_size: tuple[int, int] = (10, 50)
    """Attributes of such a set, least and most."""

    set_soft: tuple[int, int] = (1, 9)
    """Soft ones among them, where the texts came with some."""

    strategy: Strategy = "hclr"
    """How a set is drawn: hclr (correlated with its seed, unlike each other), one of these alone, or random."""

    diversity: Diversity = "farthest"
    """What unlike means: farthest (from all that is chosen), or as in the released code."""

    candidates: int = 1024
    """Neighbours of the seed among which a set is chosen."""

    triplets: int = 20_000
    """Triplets on which the space is tuned: enough for the words of some thousand texts."""

    encoder: File = None
    """Folder of a text encoder of transformers whose vectors are tuned; by default hashed words, which need none."""

    k: int = 4
    """Responses of --model to each set."""

    margin: float = 0.1
    """Least difference of the satisfied shares of a pair."""

    max_new_tokens: int = 512
    """Tokens of a response at most."""

    temperature: float = 0.9
    """Of the responses."""

    top_p: float = 0.95

    def __post_init__(self) -> None:
        at_least(self, n=1, limit=2, most_words=1, sets=0)
        if not 0 <= self.test_share < 1:
            raise UsageError(f"test_share must be 0 or more and below 1, got {self.test_share}.")
        self.pairing()
        self.sampling()
        self.expansion()

    def pairing(self) -> PairConfig:
        """How pairs are chosen. UsageError for a setting out of range."""
        return PairConfig(k=self.k, margin=self.margin)

    def sampling(self) -> SamplingConfig:
        """How responses are drawn. UsageError for a setting out of range."""
        return SamplingConfig(max_new_tokens=self.max_new_tokens, temperature=self.temperature, top_p=self.top_p)

    def expansion(self) -> ExpansionConfig:
        """How sets are drawn. UsageError for a setting out of range."""
        return ExpansionConfig(
            strategy=self.strategy, diversity=self.diversity, size=self.set_size, soft=self.set_soft,
            candidates=self.candidates, seed=self.seed,
        )  # fmt: skip

    def models(self) -> dict[str, str]:
        """The model whose responses are paired."""
        return {} if self.model is None else {"model": self.model}

    def files(self) -> dict[str, str]:
        """The texts, and the encoder where one is given."""
        return {"texts": self.texts, **({} if self.encoder is None else {"encoder": self.encoder})}

    def names(self) -> tuple[str, ...]:
        """The file's name."""
        return (Path(self.texts).stem,)

    def dry(self) -> Self:
        """Few texts and attributes, hashed words, a tiny model."""
        return replace(
            self, model=None if self.model is None else DRY_MODEL, limit=min(self.limit or 12, 12), n=min(self.n, 4),
            sets=min(self.sets, 10), set_size=(4, 4), set_soft=(0, 0), triplets=min(self.triplets, 64), encoder=None,
            k=6, max_new_tokens=16,
        )  # fmt: skip

    def check(self) -> None:
        """Refuse a file that is not there or of a kind that can't be read."""
        next(pieces(self.texts), None)


def build(run: Run[UltragenBuildSettings]) -> Outcome:
    """All files of the folder; each stage is kept as it is finished."""
    from armillary.methods.ultragen.building import built

    settings = run.settings
    page = built(_plan(settings), run.parts, run.folder.path, run.models.get("model"))
    return Outcome(
        title=f"Training data from {Path(settings.texts).name}",
        measures=page.measures,
        findings=page.findings,
        sections=page.sections,
    )


def _plan(settings: UltragenBuildSettings) -> "BuildPlan":
    from armillary.methods.ultragen.building import BuildPlan, PairPlan

    return BuildPlan(
        texts=settings.texts,
        field=settings.field,
        limit=settings.limit,
        n=settings.n,
        most_words=settings.most_words,
        test_share=settings.test_share,
        sets=settings.sets,
        space=SpaceConfig(triplets=settings.triplets, seed=settings.seed),
        expansion=settings.expansion(),
        encoder=settings.encoder,
        pairs=PairPlan(
            config=settings.pairing(), sampling=settings.sampling(), chat=not settings.plain, seed=settings.seed
        ),
        seed=settings.seed,
    )


def has_files(out: Path, settings: UltragenBuildSettings) -> bool:
    """Whether what a finished run wrote is still in its folder."""
    names = [AR, TEST, SETS, TEST_SETS, *([PAIRS] if settings.model is not None else [])]
    return all((out / name).is_file() for name in names)


JOBS = {"ultragen build": Job(settings=UltragenBuildSettings, work=build, is_complete=has_files)}


def run(arguments: Sequence[str]) -> int:
    """The command."""
    return run_job(JOBS["ultragen build"], arguments)
