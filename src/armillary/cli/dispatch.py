"""Which module a word of the command line stands for; it alone is imported, so that help answers at once."""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from armillary.errors import UsageError

if TYPE_CHECKING:
    from armillary.runs.run import Job


@dataclass(frozen=True)
class Command:
    """A word of the command line and the module that has its ``run(arguments) -> exit code``.

    A module whose runs leave records also has ``JOBS``: the words of each command to its ``Job``; one with actions of
    its own has ``ACTIONS``.
    """

    name: str
    summary: str
    module: str
    """Below ``armillary.cli``."""

    function: str = "run"

    def load(self) -> ModuleType:
        """The module, imported."""
        return import_module(f"armillary.cli.{self.module}")

    def run(self, arguments: Sequence[str]) -> int:
        """Run it; its exit code."""
        return int(getattr(self.load(), self.function)(arguments))


@dataclass(frozen=True)
class Verb:
    """A word of everyday language for what a method's command does."""

    name: str
    words: str
    """The command and its action, as records name them: "icn ask"."""

    summary: str


TYPED: ContextVar[str | None] = ContextVar("TYPED", default=None)
"""The verb that was typed, which help and messages then show in place of the method's words."""


def choose(commands: Sequence[Command], name: str, prefix: str = "armillary", verbs: Sequence[Verb] = ()) -> Command:
    """The command of that name. UsageError names those that are near, verbs among them."""
    known = {command.name: command for command in commands}
    if name not in known:
        known |= {verb.name: commands[0] for verb in verbs}
        near = get_close_matches(name, known, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"accepted: {', '.join(known)}."
        raise UsageError(f"There is no command `{prefix} {name}`; {hint}")
    return known[name]


def run_action(parent: str, purpose: str, actions: Sequence[Command], arguments: Sequence[str]) -> int:
    """The action that ``arguments`` begin with, such as "edit" of ``armillary bricks``; without one the overview."""
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        print(overview(f"armillary {parent} ACTION", purpose, actions))
        print(f"\n`armillary {parent} ACTION --help` shows its options.")
        return 0
    return choose(actions, name, f"armillary {parent}").run(rest)


def overview(usage: str, purpose: str, commands: Sequence[Command | Verb]) -> str:
    """Usage, purpose and a line for each command."""
    width = max(len(command.name) for command in commands)
    rows = "\n".join(f"  {command.name:{width}}  {command.summary}" for command in commands)
    word = "actions" if "ACTION" in usage else "commands"
    return f"usage: {usage} [options]\n\n{purpose}\n\n{word}:\n{rows}"


def job_of(commands: Sequence[Command], config: Mapping[str, Any]) -> "Job[Any]":
    """The job that made a record with this config. UsageError where this version of Armillary has none."""
    words = str(config.get("command", ""))
    for word in words.split():
        known = {command.name: command for command in commands}
        if word not in known:
            break
        module = known[word].load()
        jobs: Mapping[str, Job[Any]] = getattr(module, "JOBS", {})
        if words in jobs:
            return jobs[words]
        commands = getattr(module, "ACTIONS", ())
    raise UsageError(f"Records of `armillary {words}` can't be replayed by this version of Armillary.")
