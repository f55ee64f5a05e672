"""``armillary bricks ACTION``: functional parts of a model found, split, routed, merged, edited, grown and kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from armillary.cli.bricks.edit import EditOptions
from armillary.cli.bricks.grow import GrowOptions
from armillary.cli.bricks.library import LibraryOptions, run_library
from armillary.cli.bricks.merge import MergeOptions
from armillary.cli.bricks.options import ModelOptions
from armillary.cli.bricks.partition import PartitionOptions
from armillary.cli.bricks.profile import ProfileOptions
from armillary.cli.bricks.route import RouteOptions
from armillary.cli.old_run import run_in, settings_of, tell
from armillary.cli.options import default_folder, read
from armillary.errors import StorageError, UsageError
from armillary.records.record import RunRecord
from armillary.runs.settings import DRY_MODEL

if TYPE_CHECKING:
    from armillary.cli.bricks.delivery import Delivery


@dataclass(frozen=True)
class Action:
    """Where an action's settings and work stand, and how small it is made under ``--dry-run``."""

    module: str
    config: str
    run: str
    largest: Mapping[str, int]
    """Under ``--dry-run`` numbers are at most this; None takes it."""

    dry: Mapping[str, Any]
    """Under ``--dry-run`` settings are this."""

    @property
    def settings(self) -> Any:
        """The class of its settings."""
        return getattr(import_module(f"armillary.cli.bricks.{self.module}"), self.config)

    @property
    def work(self) -> Any:
        """What runs it."""
        return getattr(import_module(f"armillary.cli.bricks.{self.module}"), self.run)


FEW = ("code", "german")
"""Capabilities under ``--dry-run`` where none are named."""

_SMALL = {"tokens": 16, "calibration": 2}
ACTIONS = {
    "profile": Action("profile", "ProfileConfig", "run_profile", {"texts": 20}, {}),
    "partition": Action("partition", "PartitionConfig", "run_partition", {"experts": 4}, _SMALL),
    "route": Action("route", "RouteConfig", "run_route", {"experts": 4, "texts": 2}, _SMALL),
    "merge": Action("merge", "MergeConfig", "run_either", {}, {"inputs": (), "library": None}),
    "edit": Action(
        "edit",
        "EditConfig",
        "run_edit",
        {},
        {"tokens": 16, "general_texts": 8, "texts": 2, "subjects": 40, "known": False},
    ),
    "grow": Action("grow", "GrowConfig", "run_grow", {"steps": 2}, {"tokens": 16, "texts": 2}),
}
OPTIONS: dict[type[ModelOptions], str] = {
    ProfileOptions: "profile",
    PartitionOptions: "partition",
    RouteOptions: "route",
    MergeOptions: "merge",
    EditOptions: "edit",
    GrowOptions: "grow",
}


@dataclass(frozen=True, kw_only=True)
class BricksOptions:
    """Bricks: the functional parts of a model, found in it or added to it (docs/methods/bricks.md)."""

    action: tyro.conf.OmitSubcommandPrefixes[
        tyro.conf.OmitArgPrefixes[
            Annotated[ProfileOptions, tyro.conf.subcommand(name="profile")]
            | Annotated[PartitionOptions, tyro.conf.subcommand(name="partition")]
            | Annotated[RouteOptions, tyro.conf.subcommand(name="route")]
            | Annotated[MergeOptions, tyro.conf.subcommand(name="merge")]
            | Annotated[EditOptions, tyro.conf.subcommand(name="edit")]
            | Annotated[GrowOptions, tyro.conf.subcommand(name="grow")]
            | Annotated[LibraryOptions, tyro.conf.subcommand(name="library")]
        ]
    ]


def run(arguments: Sequence[str]) -> int:
    """The command."""
    options = read(BricksOptions, arguments, "bricks").action
    if isinstance(options, LibraryOptions):
        return run_library(options)
    action = OPTIONS[type(options)]
    if isinstance(options, MergeOptions) and options.recipe:
        return _recipe(settings(action, replace(options, dry_run=False)), options.to)
    config = settings(action, options)
    out = options.out or default_folder(f"bricks-{action}", config.model, *_told_apart(options))
    record = execute(action, config, out, fresh=options.fresh, delivery=_delivery(options))
    tell(record, out, as_json=options.json)
    return 0


def settings(action: str, options: ModelOptions) -> Any:
    """What the run itself has to know: of the options those that have the name of a setting."""
    known = ACTIONS[action]
    names = {field.name for field in fields(known.settings)}
    wanted = {name: value for name, value in vars(options).items() if name in names}
    if wanted.get("capabilities", 0) is None and action != "profile":
        del wanted["capabilities"]
    if isinstance(options, ProfileOptions):
        wanted["text_files"] = options.text_file
    if isinstance(options, MergeOptions):
        wanted["library"] = None if options.library is None else str(options.library)
    if isinstance(options, RouteOptions):
        wanted["mixtral"] = options.mixtral is not None
    return known.settings(**(_shrunk(wanted, known, options) if options.dry_run else wanted))


def _shrunk(wanted: Mapping[str, Any], known: Action, options: ModelOptions) -> dict[str, Any]:
    """The settings under ``--dry-run``."""
    numbers = {name: wanted[name] for name in known.largest}
    small = {
        name: known.largest[name] if one is None else min(one, known.largest[name]) for name, one in numbers.items()
    }
    found = {**wanted, "model": DRY_MODEL, **small, **known.dry}
    if hasattr(options, "capabilities") and options.capabilities is None:
        found["capabilities"] = FEW
    if isinstance(options, MergeOptions):
        found["stand_ins"] = max(1, len(options.inputs))
    if isinstance(options, RouteOptions) and options.k is not None:
        found["k"] = min(options.k, found["experts"])
    return found


def _delivery(options: ModelOptions) -> "Delivery":
    from armillary.cli.bricks.delivery import Delivery

    to = options.mixtral if isinstance(options, RouteOptions) else getattr(options, "to", None)
    return Delivery(to=to, library=getattr(options, "library", None))


def _told_apart(options: ModelOptions) -> tuple[str, ...]:
    """Words for the name of the folder, so that runs of other settings don't lie in one."""
    if isinstance(options, EditOptions):
        return (options.subject, options.new)
    if isinstance(options, MergeOptions):
        return (options.method, *options.inputs[:4])
    if isinstance(options, PartitionOptions | RouteOptions):
        return (f"{options.experts}", options.by)
    if isinstance(options, GrowOptions):
        return (options.to.name,)
    return ()


def _recipe(config: Any, to: Path | None) -> int:
    """The recipe on stdout, or in a new file."""
    from armillary.cli.bricks.merge import recipe_of
    from armillary.files import write_atomic

    if to is not None and to.exists():
        raise StorageError(f"{to} exists already; give the name of a new file.")
    text = recipe_of(config)
    if to is None:
        print(text, end="")
    else:
        write_atomic(to, text)
        print(f"Recipe: {to}")
    return 0


def execute(action: str, config: Any, out: Path, *, fresh: bool, delivery: "Delivery | None" = None) -> RunRecord:
    """The record of one action in the folder ``out``; what it makes goes where ``delivery`` says."""
    more = {} if delivery is None or action == "profile" else {"delivery": delivery}
    if delivery is not None:
        # Told before ``--fresh`` takes away what is there.
        delivery.check(out)
    return run_in(out, lambda: ACTIONS[action].work(config, out, fresh=fresh, **more), fresh=fresh)


def again(config: Mapping[str, Any], out: Path) -> RunRecord:
    """The same with the settings of a record; what it makes is kept in its folder alone."""
    action = str(config.get("command")).removeprefix("bricks ")
    if action not in ACTIONS:
        raise UsageError(f"The record is of 'bricks {action}', which this version of Armillary does not have.")
    kept = {name: tuple(value) if isinstance(value, list) else value for name, value in settings_of(config).items()}
    # Digests of files that the run read, which it makes anew.
    kept.pop("files", None)
    return execute(action, ACTIONS[action].settings(**kept), out, fresh=True)
