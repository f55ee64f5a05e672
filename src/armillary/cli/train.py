"""``armillary train ACTION``: image-text models trained, from a connector onwards. Finds the action's own file."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from armillary.cli.main import Command
from armillary.errors import UsageError
from armillary.runs.record import RunRecord

ACTIONS = (
    Command("connector", "Give a language model eyes: train the connector to a vision tower.", "train_connector"),
    Command("mdgd", "Tune an image-text model while its image states stay where they were.", "train_mdgd"),
    Command("commit", "Tune an image-text model with encoder and language model in balance.", "train_commit"),
)
"""Words after ``armillary train``; each module has ``run(arguments)`` and, for replays, ``again(config, out)``."""


def overview() -> str:
    """The text of ``armillary train --help``."""
    width = max(len(action.name) for action in ACTIONS)
    rows = "\n".join(f"  {action.name:{width}}  {action.summary}" for action in ACTIONS)
    return (
        "usage: armillary train ACTION [options]\n\n"
        f"Train image-text models.\n\nactions:\n{rows}\n\n"
        "`armillary train ACTION --help` tells its options."
    )


def run(arguments: Sequence[str]) -> int:
    """The command."""
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        print(overview())
        return 0
    return int(_module(name).run(rest))


def again(config: Mapping[str, Any], out: Path) -> RunRecord:
    """The same training with the settings of a record."""
    record: RunRecord = _module(str(config.get("command")).removeprefix("train ")).again(config, out)
    return record


def _module(name: str) -> Any:
    modules = {action.name: action.module for action in ACTIONS}
    if name not in modules:
        raise UsageError(f"`armillary train` can't train {name!r}; accepted: {', '.join(modules)}.")
    return import_module(f"armillary.cli.{modules[name]}")
