"""``armillary ultragen derive TEXTS``: prompts that state what each text has, with the text as their answer."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import tyro

from armillary.cli.command import execute, print_summary
from armillary.cli.engine import EngineOptions
from armillary.cli.options import read_run
from armillary.errors import StorageError, UsageError
from armillary.files import storage_sentence
from armillary.runs.engines import Engine
from armillary.runs.pieces import pieces
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import RunSettings, at_least

if TYPE_CHECKING:
    from collections.abc import Iterator

    from armillary.methods.ultragen.corpus.deriving import DerivedPiece

TextsFile = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TEXTS")]

ROWS = "attributes.jsonl"
"""File of the run's folder with a prompt, its text and its attributes a line."""


@dataclass(frozen=True, kw_only=True)
class UltragenDeriveSettings(RunSettings):
    """Read off each text which attributes it has, and write the prompts that state them.

    TEXTS is a file of JSON lines, CSV or Parquet with a text a row. The folder then holds attributes.jsonl: a line for
    each text, with its prompt, the text as the response, and the attributes in the order of the prompt; `armillary
    ultragen check` reads it, with responses of a model in place of the texts.
    """

    command: ClassVar[str] = "ultragen derive"

    texts: TextsFile
    """File of texts (.jsonl, .csv, .tsv or .parquet), of any length."""

    field: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Name under which a row holds its text; by default the first of text, content, document, response, completion."""

    n: int = 45
    """Attributes of a text at most."""

    order: Literal["shuffled", "soft_first", "hard_first"] = "shuffled"
    """Order of the attributes in a prompt; shuffled draws one for each text."""

    extractor: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """Chat model that states soft attributes: a local one, or with --extractor-url the endpoint's; by default none."""

    extractor_url: Annotated[str | None, tyro.conf.arg(metavar="URL")] = None
    """Endpoint that speaks OpenAI's chat completions; the key is read from ARMILLARY_CHAT_KEY."""

    extractor_style: Literal["open", "slots"] = "open"
    """open: up to eight sentences; slots: content, situation, style, tone and example, one sentence each."""

    def __post_init__(self) -> None:
        at_least(self, n=1)
        if self.extractor_url is not None and self.extractor is None:
            raise UsageError("an endpoint needs the name of its model; give --extractor MODEL with --extractor-url.")

    def files(self) -> dict[str, str]:
        """The texts."""
        return {"texts": self.texts}

    def names(self) -> tuple[str, ...]:
        """The file's name."""
        return (Path(self.texts).stem,)

    def dry(self) -> Self:
        """Few attributes of each text."""
        return replace(self, n=min(self.n, 5))

    def check(self) -> None:
        """Refuse a file that is not there or of a kind that can't be read."""
        next(pieces(self.texts), None)


def derive_prompts(run: Run[UltragenDeriveSettings], engine: Engine = Engine()) -> Outcome:
    """All texts of the file, piece by piece; the rows are written whole or not at all."""
    from armillary.fetch.cache import cache_folder
    from armillary.methods.ultragen.corpus.deriving import (
        SHOWN,
        DeriveChoice,
        DerivedPiece,
        attributes_a_text,
        derive_piece,
        derived_section,
    )
    from armillary.methods.ultragen.soft.extraction import ExtractorChoice

    settings = run.settings
    extractor = ExtractorChoice(
        model=settings.extractor, url=settings.extractor_url, style=settings.extractor_style,
        cache=str(cache_folder() / "answers"),
    )  # fmt: skip
    choice = DeriveChoice(
        n=settings.n, order=settings.order, seed=settings.seed, field=settings.field, extractor=extractor
    )
    total, examples = DerivedPiece(), list[str]()
    work = partial(derive_piece, choice=choice)
    results = engine.results(DerivedPiece, pieces(settings.texts), work, run.parts, "derive attributes")
    _write(run.folder.path / ROWS, results, total, examples, SHOWN)
    if not total.numbers:
        raise UsageError(f"{settings.texts} holds no text with a word.")
    mean = attributes_a_text(total, settings.seed)
    section, finding = derived_section(total, mean, ROWS, examples)
    texts = sum(total.numbers.values())
    return Outcome(
        title=f"Attributes of {texts:,} {'text' if texts == 1 else 'texts'} of {Path(settings.texts).name}",
        measures={"attributes of a text": mean},
        findings=[finding],
        sections=[section],
    )


def _write(
    path: Path, results: "Iterator[DerivedPiece]", total: "DerivedPiece", examples: list[str], shown: int
) -> None:
    """The rows into ``path`` as they come, their counts into ``total``, and the first prompts into ``examples``."""
    from armillary.methods.ultragen.corpus.deriving import merged

    aside = path.with_name(f".{path.name}.unfinished")
    try:
        with open(aside, "w", encoding="utf-8", newline="\n") as file:
            for piece in results:
                file.writelines(f"{line}\n" for line in piece.lines)
                examples += [json.loads(line)["prompt"] for line in piece.lines[: shown - len(examples)]]
                merged(total, piece)
        aside.replace(path)
    except OSError as error:
        raise StorageError(storage_sentence(path, error)) from error
    finally:
        aside.unlink(missing_ok=True)


JOBS = {
    "ultragen derive": Job(
        settings=UltragenDeriveSettings,
        work=derive_prompts,
        is_complete=lambda out, settings: (out / ROWS).is_file(),
    )
}


def run(arguments: Sequence[str]) -> int:
    """The command."""
    settings, options = read_run(UltragenDeriveSettings, arguments, EngineOptions)
    job = replace(JOBS["ultragen derive"], work=partial(derive_prompts, engine=options.chosen()))
    print_summary(*execute(job, settings, options), as_json=options.json)
    return 0
