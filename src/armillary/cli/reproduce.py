"""``armillary reproduce METHOD``: run a paper's claims at our scale and judge each by its rule."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import tyro

from armillary.cards import CARDS
from armillary.cli.options import DRY_MODEL, RunOptions, default_folder, read
from armillary.cli.running import run_in, settings_of, tell
from armillary.errors import CheckFailed, UsageError
from armillary.experiments.config import Preset, ReproduceConfig
from armillary.runs.plain import dumps
from armillary.runs.record import RunRecord


@dataclass(frozen=True, kw_only=True)
class ReproduceOptions(RunOptions):
    """Run the claims of a method's paper and judge each: holds, fails or undecided, by a rule written beforehand.

    A claim that fails is a result, so the exit code stays 0 unless --strict is given.
    """

    method: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="METHOD")]
    """Which method (`armillary list` tells them), or one of its further experiments (its page tells them)."""

    preset: Preset = "laptop"
    """quick proves that the path works, laptop is the scale of the committed results, gpu is larger."""

    model: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    """Models to judge on, one record each; by default those of the preset."""

    strict: bool = False
    """Exit with 1 when a claim fails."""


def experiment(method: str) -> Any:
    """The module ``armillary.experiments.<method>`` with ``MODELS`` and ``run``."""
    names = [name for card in CARDS for name in (card.name, *card.more)]
    if method not in names:
        near = get_close_matches(method, names, n=1, cutoff=0.4) or names
        raise UsageError(f"There is no method {method!r}; did you mean {', '.join(near)}?")
    return import_module(f"armillary.experiments.{method}")


def execute(config: ReproduceConfig, out: Path, *, fresh: bool) -> RunRecord:
    """The record of one experiment on one model in the folder ``out``."""
    module = experiment(config.method)
    return run_in(out, lambda: module.run(config, out, fresh=fresh), fresh=fresh)


def again(config: Mapping[str, Any], out: Path) -> RunRecord:
    """The same experiment with the settings of a record."""
    return execute(ReproduceConfig(**settings_of(config)), out, fresh=True)


def run(arguments: Sequence[str]) -> int:
    """The command."""
    options = read(ReproduceOptions, arguments, "reproduce")
    preset: Preset = "quick" if options.dry_run else options.preset
    models = (DRY_MODEL,) if options.dry_run else options.model or experiment(options.method).MODELS[preset]
    records: list[RunRecord] = []
    for model in models:
        config = ReproduceConfig(method=options.method, model=model, preset=preset, seed=options.seed)
        out = default_folder("reproduce", options.method, preset, model)
        if options.out is not None:
            out = options.out if len(models) == 1 else options.out / out.name
        records.append(execute(config, out, fresh=options.fresh))
        if not options.json:
            tell(records[-1], out, as_json=False)
            print(verdicts(records[-1]))
    if options.json:
        data = [record.to_dict() for record in records]
        sys.stdout.write(dumps(data[0] if len(data) == 1 else data, indent=1) + "\n")
    failed = [claim.id for record in records for claim in record.claims if claim.verdict == "fails"]
    if options.strict and failed:
        raise CheckFailed(f"These claims fail: {', '.join(failed)}.")
    return 0


def verdicts(record: RunRecord) -> str:
    """One line a claim: verdict and statement."""
    return "\n".join(f"  {claim.verdict:9}  {claim.id}: {claim.statement}" for claim in record.claims)
