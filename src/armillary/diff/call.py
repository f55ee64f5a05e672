"""``armillary.diff(base, after)``: a diff from Python, of models by name or ready ones."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from armillary.diff.config import DiffConfig
from armillary.diff.pair import Origin, origin_of
from armillary.diff.prompts import FIELDS, prompt_of
from armillary.diff.result import DiffResult
from armillary.diff.run import compare
from armillary.errors import UsageError
from armillary.files import write_atomic
from armillary.models import LoadedModel, load
from armillary.records.plain import dumps
from armillary.runs.run import Job
from armillary.runs.settings import RunSettings

Given = str | Path | LoadedModel | tuple[PreTrainedModel, PreTrainedTokenizerBase]


def diff(
    base: Given,
    after: Given | None = None,
    *,
    prompts: str | Path | Sequence[str | Mapping[str, Any]] | None = None,
    texts: Mapping[str, str | Path] | None = None,
    out: Path | str | None = None,
    fresh: bool = False,
    **settings: Any,
) -> DiffResult:
    """What changed from ``base`` to ``after``, and how sure that is: ``print(armillary.diff("a", "b"))``.

    A model is a name (folder, hub id, packaged, .gguf) or ready: what ``load`` gives, or (model, tokenizer). One name
    alone is an adapter; after a ready base, its folder is one on that. ``prompts`` are a file's name, or texts and
    rows with the fields of such a file; ``texts`` are files by name; ``settings`` the other fields of ``DiffConfig``
    (``budget="10m"``). With ``out`` the run leaves its record and page there, and goes on there if it was stopped;
    else nothing is left on disk.

    Raises:
        ArmillaryError: as ``compare``; UsageError for an unknown setting.
    """
    with ExitStack() as stack:
        folder = Path(out) if out is not None else Path(stack.enter_context(TemporaryDirectory()))
        origins = _ready_origins({"base": base} if after is None else {"base": base, "after": after})
        # One name for both is one model against itself.
        names = [*origins] * (2 if len(origins) == 1 else 1)
        given: dict[str, Any] = {"base": names[0], **({"after": names[1]} if after is not None else {})}
        if prompts is not None:
            given["prompts"] = str(prompts if isinstance(prompts, str | Path) else _written(prompts, folder))
        if texts is not None:
            if not isinstance(texts, Mapping):
                raise UsageError(
                    f"texts is of type {type(texts).__name__}; give files by name: {{'German': 'de.txt'}}."
                )
            given["texts"] = [f"{name}={path}" for name, path in texts.items()]
        config = DiffConfig.from_table({**given, **settings}, "armillary.diff")

        def origin(name: str, options: RunSettings) -> Origin:
            known = origins[name]
            return origin_of(name, options) if known is None else known

        job = Job(settings=DiffConfig, work=compare, open_model=origin)
        return DiffResult(job.run(config, folder / "run" if out is None else folder, fresh=fresh))


def _ready_origins(models: Mapping[str, Given]) -> dict[str, Origin | None]:
    """By a name of its own each: an open model; None for what is to be opened by that name."""
    origins: dict[str, Origin | None] = {}
    for role, model in models.items():
        if isinstance(model, str | Path):
            origins[str(model)] = None
            continue
        loaded = model if isinstance(model, LoadedModel) else load(model)
        name = loaded.name if loaded.name not in origins else f"{loaded.name} ({role})"
        origins[name] = Origin(name=name, ready=loaded)
    return origins


def _written(rows: Sequence[str | Mapping[str, Any]], folder: Path) -> Path:
    """Prompts given in Python, as the file that they would have stood in."""
    path = folder / "prompts.jsonl"
    if isinstance(rows, Mapping) or not isinstance(rows, Iterable):
        raise UsageError(f"prompts is of type {type(rows).__name__}; give a file's name, or a list of texts or rows.")
    lines = []
    for number, given in enumerate(rows, 1):
        row = {"prompt": given} if isinstance(given, str) else given
        if not isinstance(row, Mapping):
            raise UsageError(f"prompt {number} is of type {type(row).__name__}; give text, or a row with {FIELDS}.")
        prompt_of(row, f"prompt {number}", "")  # told here, as no user knows the file
        lines.append(dumps(dict(row)))
    if not lines:
        raise UsageError("prompts has none; give one or more, or leave it out for the packaged ones.")
    write_atomic(path, "\n".join(lines) + "\n")
    return path
