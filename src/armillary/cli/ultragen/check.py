"""``armillary ultragen check RESPONSES``: which attributes responses have, and where in the text the others fail."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import tyro

from armillary.cli.command import execute, print_summary
from armillary.cli.engine import EngineOptions
from armillary.cli.options import read_run
from armillary.errors import UsageError
from armillary.runs.engines import Engine
from armillary.runs.pieces import pieces
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import File, RunSettings, at_least

ResponsesFile = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RESPONSES")]

DRY = 20
"""Responses of a dry run: enough for every part of the page."""


@dataclass(frozen=True, kw_only=True)
class UltragenCheckSettings(RunSettings):
    """Check responses against the attributes of their prompts, and leave a page that shows where they fail.

    RESPONSES is a file of JSON lines, CSV or Parquet with a text a row under response, and what it must have under
    attributes: objects as `armillary ultragen derive` writes them, sentences, or sentences one a line. Rows of IFEval,
    IFBench and ultrabench are read as they are. Without attributes the lines of prompt are read as sentences.
    """

    command: ClassVar[str] = "ultragen check"

    responses: ResponsesFile
    """File of responses (.jsonl, .csv, .tsv or .parquet), of any length."""

    limit: int | None = None
    """Check no more than the first so many responses."""

    worst: int = 12
    """Responses that are shown with their marks."""

    on_unknown: Literal["error", "skip"] = "error"
    """Of an id or a kind that is not in the catalogue: error refuses the file, skip passes over it and counts it."""

    judge: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """Chat model that judges soft attributes: a local one, or with --judge-url the endpoint's; by default none."""

    judge_url: Annotated[str | None, tyro.conf.arg(metavar="URL")] = None
    """Endpoint that speaks OpenAI's chat completions, as http://localhost:8000/v1; the key is read from the
    environment variable ARMILLARY_CHAT_KEY."""

    judge_loose: bool = False
    """Count a soft attribute as met where it is met in the main."""

    judge_compat: Literal["", "all_false"] = ""
    """all_false: one reply that can't be read fails all its attributes, as in the released benchmark."""

    judge_cache: File = None
    """Folder of the judge's answers; by default one in the cache of Armillary."""

    def __post_init__(self) -> None:
        at_least(self, limit=1, worst=0)
        if self.judge_url is not None and self.judge is None:
            raise UsageError("an endpoint needs the name of its model; give --judge MODEL with --judge-url.")

    def files(self) -> dict[str, str]:
        """The responses."""
        return {"responses": self.responses}

    def names(self) -> tuple[str, ...]:
        """The file's name."""
        return (Path(self.responses).stem,)

    def dry(self) -> Self:
        """The first few responses."""
        return replace(self, limit=min(self.limit or DRY, DRY))

    def check(self) -> None:
        """Refuse a file that is not there or of a kind that can't be read."""
        next(pieces(self.responses), None)


def check_responses(run: Run[UltragenCheckSettings], engine: Engine = Engine()) -> Outcome:
    """All responses of the file, counted piece by piece."""
    from armillary.fetch.cache import cache_folder
    from armillary.methods.ultragen.corpus.check_page import check_page
    from armillary.methods.ultragen.corpus.checking import check_piece
    from armillary.methods.ultragen.corpus.tally import Tally
    from armillary.methods.ultragen.soft.judges import JudgeChoice

    settings = run.settings
    choice = JudgeChoice(
        model=settings.judge, url=settings.judge_url, strict=not settings.judge_loose, compat=settings.judge_compat,
        cache=settings.judge_cache or str(cache_folder() / "answers"),
    )  # fmt: skip
    tally = Tally()
    work = partial(check_piece, judge_choice=choice, keep=settings.worst, on_unknown=settings.on_unknown)
    cut = pieces(settings.responses)
    if settings.limit is None:
        for counts in engine.results(Tally, cut, work, run.parts, "check responses"):
            tally.merge(counts, settings.worst)
    else:
        # A limit is counted from the first row on, so that one piece has to be done before the next.
        while tally.responses < settings.limit and (piece := next(cut, None)) is not None:
            rest = partial(work, limit=settings.limit - tally.responses)
            for counts in engine.results(Tally, [piece], rest, run.parts, "check responses"):
                tally.merge(counts, settings.worst)
    if not tally.all:
        raise UsageError(f"{settings.responses} holds no response with an attribute that can be judged.")
    page = check_page(tally, Path(settings.responses).name, settings.seed)
    return Outcome(title=page.title, measures=page.measures, findings=page.findings, sections=page.sections)


JOBS = {"ultragen check": Job(settings=UltragenCheckSettings, work=check_responses)}


def run(arguments: Sequence[str]) -> int:
    """The command."""
    settings, options = read_run(UltragenCheckSettings, arguments, EngineOptions)
    job = replace(JOBS["ultragen check"], work=partial(check_responses, engine=options.chosen()))
    print_summary(*execute(job, settings, options), as_json=options.json)
    return 0
