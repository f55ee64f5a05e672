"""``armillary ultragen evaluate MODEL SETS``: how much of its prompts a model satisfies, with the best of several."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

import tyro

from armillary.cli.command import run_job
from armillary.errors import UsageError
from armillary.methods.ultragen.config import SamplingConfig
from armillary.runs.pieces import pieces
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import OneModelSettings, at_least

if TYPE_CHECKING:
    from armillary.attributes.attribute_set import Judge

SetsFile = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SETS")]

RESPONSES = "responses.jsonl"
"""File of the run's folder with each response beside its prompt and attributes, for `armillary ultragen check`."""

DRY = 3
"""Sets of a dry run."""


@dataclass(frozen=True, kw_only=True)
class UltragenSetsSettings(OneModelSettings):
    """What the commands share that ask a model on a file of sets."""

    sets: SetsFile
    """File of sets (.jsonl, .csv, .tsv or .parquet): of `ultragen build` or `derive`, of IFEval or ultrabench."""

    limit: int | None = None
    """Take no more than the first so many sets."""

    max_new_tokens: int = 512
    """Tokens of a response at most."""

    temperature: float = 0.7
    top_p: float = 0.95

    def __post_init__(self) -> None:
        at_least(self, limit=2)
        self.sampling()

    def sampling(self) -> SamplingConfig:
        """How responses are drawn. UsageError for a setting out of range."""
        return SamplingConfig(max_new_tokens=self.max_new_tokens, temperature=self.temperature, top_p=self.top_p)

    def files(self) -> dict[str, str]:
        """The sets."""
        return {"sets": self.sets}

    def names(self) -> tuple[str, ...]:
        """Sets and model."""
        return Path(self.sets).stem, self.model

    def dry(self) -> Self:
        """Three sets and few tokens."""
        return replace(super().dry(), limit=min(self.limit or DRY, DRY), max_new_tokens=8)

    def check(self) -> None:
        """Refuse a file that is not there or of a kind that can't be read."""
        next(pieces(self.sets), None)


@dataclass(frozen=True, kw_only=True)
class UltragenEvaluateSettings(UltragenSetsSettings):
    """Let a model respond to each set several times and check what it wrote, with the best of K beside the mean.

    Leaves a report, and responses.jsonl, which `armillary ultragen check` shows text by text.
    """

    command: ClassVar[str] = "ultragen evaluate"

    k: int = 4
    """Responses to each set."""

    outline: bool = False
    """Also let the model write an outline first, and then the text: what prompting alone gives."""

    judge: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """Chat model that judges soft attributes: a local one, or with --judge-url the endpoint's; by default none."""

    judge_url: Annotated[str | None, tyro.conf.arg(metavar="URL")] = None
    """Endpoint that speaks OpenAI's chat completions, as http://localhost:8000/v1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, k=1)
        if self.judge_url is not None and self.judge is None:
            raise UsageError("an endpoint needs the name of its model; give --judge MODEL with --judge-url.")

    def dry(self) -> Self:
        """Two responses."""
        return replace(super().dry(), k=min(self.k, 2), judge=None, judge_url=None)


def evaluate(run: Run[UltragenEvaluateSettings]) -> Outcome:
    """The evaluation, and the responses beside it."""
    from armillary.methods.ultragen.asking import evaluated, with_prompts
    from armillary.methods.ultragen.evaluation import summarised
    from armillary.methods.ultragen.report import evaluate_page
    from armillary.methods.ultragen.set_files import StoredSet, read_sets, write_lines

    settings, loaded = run.settings, run.model
    sets = with_prompts(read_sets(settings.sets, settings.limit), settings.seed)
    judge = _judge(settings)
    results = evaluated(
        loaded, sets, run.parts, name="responses", k=settings.k, sampling=settings.sampling(), seed=settings.seed,
        judge=judge,
    )  # fmt: skip
    outline = None
    if settings.outline:
        outlined = evaluated(
            loaded, sets, run.parts, name="outlined", k=1, sampling=settings.sampling(), seed=settings.seed,
            judge=judge, outline=True,
        )  # fmt: skip
        outline = summarised(outlined, seed=settings.seed).csr
    lines = [
        StoredSet(attributes=own.attributes, prompt=own.prompt, text=response.text).line()
        for own, result in zip(sets, results, strict=True)
        for response in result.responses
    ]
    write_lines(run.folder.path / RESPONSES, lines)
    page = evaluate_page(summarised(results, seed=settings.seed), model=loaded.name, outline=outline)
    return Outcome(
        title=f"{loaded.name} on {Path(settings.sets).name}",
        measures=page.measures,
        findings=page.findings,
        sections=page.sections,
    )


def _judge(settings: UltragenEvaluateSettings) -> "Judge | None":
    """The judge of soft attributes, where one is asked for."""
    if settings.judge is None:
        return None
    from armillary.fetch.cache import cache_folder
    from armillary.methods.ultragen.soft.judges import JudgeChoice, opened_judge

    cache = str(cache_folder() / "answers")
    return opened_judge(JudgeChoice(model=settings.judge, url=settings.judge_url, cache=cache))


JOBS = {
    "ultragen evaluate": Job(
        settings=UltragenEvaluateSettings,
        work=evaluate,
        is_complete=lambda out, settings: (out / RESPONSES).is_file(),
    )
}


def run(arguments: Sequence[str]) -> int:
    """The command."""
    return run_job(JOBS["ultragen evaluate"], arguments)
