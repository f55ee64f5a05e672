"""``armillary bricks library DIR ...``: bricks kept in a folder: listed, shown, added, found, removed, exported."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from armillary.cli.options import Folder, read
from armillary.errors import StorageError, UsageError
from armillary.records.plain import dumps
from armillary.runs.settings import DRY_MODEL

if TYPE_CHECKING:
    from armillary.methods.bricks.library.brick_library import BrickLibrary
    from armillary.methods.bricks.library.retrieval import MidLayerEncoder
    from armillary.models import LoadedModel

BACKGROUND, CENTRED = "world-factbook", 16
"""Corpus and number of texts whose mean encoding is subtracted, so that texts differ in more than their length."""

KEY_TEXTS = 12
"""Texts of a capability that a key is made of: about a dozen, as in LoraRetriever."""

Act = Literal["list", "show", "add", "search", "remove", "export", "rebuild"]


@dataclass(frozen=True, kw_only=True)
class LibraryOptions:
    """Keep bricks in a folder: list, show ID, add ADAPTER, search TEXT, remove ID, export ID, rebuild.

    An ID may be shortened to its first 4 digits or more. Adapters and edits in a library are folders that PEFT opens.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Folder of the library; `add` makes it."""

    act: Annotated[Act, tyro.conf.Positional]
    """What to do."""

    what: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ID | ADAPTER | TEXT")] = ""
    """Id of a brick, folder of an adapter, or text to find bricks for."""

    model: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """add, search: the base model; search takes by default that of the library's first brick."""

    name: str = ""
    """add: name of the brick; by default that of the folder."""

    licence: str = ""
    """add: licence of the adapter."""

    keys_from: Annotated[str | None, tyro.conf.arg(metavar="CAPABILITY | FILE")] = None
    """add: what the brick is for, so that search finds it: a capability, or a file with one text a line."""

    k: int = 3
    """search: bricks to name at most."""

    threshold: float = 0.0
    """search: least cosine at which a brick counts as fitting."""

    to: Folder = None
    """export: new PEFT folder."""

    json: bool = False
    """Print the answer as JSON on stdout."""

    dry_run: bool = False
    """Take a tiny random model in the place of MODEL."""

    trust_remote_code: bool = False
    """Run Python code that a hub repository ships with its weights; only for repositories that you trust."""


def run(arguments: Sequence[str]) -> int:
    """The action."""
    options = read(LibraryOptions, arguments, "bricks library")
    needs = {"show": "the id of a brick", "remove": "the id of a brick", "export": "the id of a brick",
             "add": "the folder of an adapter", "search": "a text"}  # fmt: skip
    if options.act in needs and not options.what.strip():
        raise UsageError(f"`library {options.folder} {options.act}` needs {needs[options.act]}.")
    if options.act not in needs and options.what:
        raise UsageError(f"`library {options.folder} {options.act}` takes nothing more; got {options.what!r}.")
    if options.act != "add" and not options.folder.is_dir():
        raise StorageError(f"there is no library at {options.folder}.")
    data, lines = ACTS[options.act](options)
    if options.json:
        sys.stdout.write(dumps(data, indent=1) + "\n")
    else:
        print("\n".join(lines))
    return 0


Answer = tuple[Any, Sequence[str]]


def _library(options: LibraryOptions) -> "BrickLibrary":
    from armillary.methods.bricks.library.brick_library import BrickLibrary

    return BrickLibrary(options.folder)


def listed(options: LibraryOptions) -> Answer:
    """A line a brick."""
    entries = _library(options).entries()
    rows = [
        f"{one['id'][:12]}  {one['payload']:9}  {one['bytes'] / 1e6:8.2f} MB  {one['name']}"
        + (f"  ({', '.join(one['capabilities'])})" if one["capabilities"] else "")
        for one in entries
    ]
    return entries, rows or [f"{options.folder} holds no brick yet."]


def shown(options: LibraryOptions) -> Answer:
    """What is known of one brick."""
    brick = _library(options).get(options.what)
    made, cost = brick.meta.provenance, brick.cost
    layers = sorted({site.layer for site in brick.sites if site.layer is not None})
    rows = {
        "id": brick.id,
        "name": brick.name,
        "kind": f"{brick.origin}, {brick.kind}, {brick.granularity}",
        "made by": made.method or "unknown",
        "base": f"{made.base or 'unknown'} ({brick.base.model_type}, {brick.base.fingerprint})",
        "data": made.data or "unknown",
        "licence": made.licence or "unknown",
        "sites": f"{len(brick.sites)} in layers {', '.join(map(str, layers)) or 'none'}",
        "numbers": f"{cost.params:,}, {cost.bytes / 1e6:.2f} MB stored",
        "keys": "none: search can't find it" if brick.meta.keys is None else brick.meta.keys.encoder,
        "parents": ", ".join(one[:12] for one in brick.parents) or "none",
    }
    return {"id": brick.id, **brick.to_dict()}, [f"{name:8}  {value}" for name, value in rows.items()]


def added(options: LibraryOptions) -> Answer:
    """The id under which an adapter is kept."""
    from dataclasses import replace

    from armillary.methods.bricks.library.peft import brick_from_adapter
    from armillary.methods.bricks.library.retrieval import make_keys

    if options.model is None and not options.dry_run:
        raise UsageError("`library add` needs --model, the base that the adapter was trained on.")
    if not Path(options.what).is_dir():
        raise UsageError(f"there is no folder {options.what!r}; give one that PEFT's save_pretrained wrote.")
    texts = None if options.keys_from is None else _key_texts(options.keys_from)
    loaded = _model(options, options.model)
    brick = brick_from_adapter(options.what, loaded, name=options.name, licence=options.licence)
    if texts is not None:
        encoder = _encoder(loaded)
        keys = make_keys(encoder, texts, name=encoder.name)
        brick = replace(brick, meta=replace(brick.meta, keys=keys))
    kept = _library(options).add(brick)
    found = "" if texts is not None else " It has no keys (--keys-from), so search does not find it."
    return {"id": kept}, [f"Added {brick.name}: {kept[:12]}.{found}"]


def _key_texts(source: str) -> list[str]:
    from armillary.cli.bricks.profile import lines_of
    from armillary.data import capability_texts

    if not Path(source).is_file():
        return capability_texts(source, split="calibrate", limit=KEY_TEXTS)
    texts = lines_of(source)
    if not texts:
        raise UsageError(f"{source} holds no text; give one a line.")
    return texts


def _model(options: LibraryOptions, name: str | None) -> "LoadedModel":
    from armillary.models import load

    wanted = DRY_MODEL if options.dry_run or name is None else name
    return load(wanted, trust_remote_code=options.trust_remote_code)


def _encoder(loaded: "LoadedModel") -> "MidLayerEncoder":
    from armillary.data.texts.corpora import texts
    from armillary.methods.bricks.library.retrieval import MidLayerEncoder

    return MidLayerEncoder(loaded, background=texts(BACKGROUND, limit=CENTRED))


def searched(options: LibraryOptions) -> Answer:
    """The bricks that fit a text, best first, or that none does."""
    library = _library(options)
    library.keys()  # refuses a library without keys before a model is opened
    name = options.model or next((one for one in _bases(library) if one), None)
    if name is None and not options.dry_run:
        raise UsageError("the library does not tell its base model; give --model.")
    found = library.search(
        options.what, encoder=_encoder(_model(options, name)), k=options.k, threshold=options.threshold
    )[0]
    names = {one["id"]: one["name"] for one in library.entries()}
    lines = [f"{one.score:6.3f}  {one.brick[:12]}  {names[one.brick]}" for one in found.chosen]
    told = {**found.to_dict(), "names": {one.brick: names[one.brick] for one in found.chosen}}
    return told, lines or [found.sentence]


def _bases(library: "BrickLibrary") -> list[str]:
    from armillary.methods.bricks.library.folder import read_card

    cards = [read_card(library.folder(one["id"])) for one in library.entries()]
    return [str(card["meta"]["provenance"]["base"]) for card in cards if card["meta"]["keys"]]


def removed(options: LibraryOptions) -> Answer:
    """The brick that was taken out."""
    library = _library(options)
    name = library.folder(options.what).name
    library.remove(options.what)
    return {"removed": name}, [f"Removed {name[:12]}."]


def exported(options: LibraryOptions) -> Answer:
    """The PEFT folder of a brick."""
    from armillary.methods.bricks.library.peft import write_adapter

    if options.to is None:
        raise UsageError("`library export` needs --to, the name of a new folder.")
    brick = _library(options).get(options.what)
    write_adapter(brick, options.to)
    return {"id": brick.id, "to": str(options.to)}, [f"Exported {brick.name}: {options.to}"]


def rebuilt(options: LibraryOptions) -> Answer:
    """How many bricks the index now has."""
    count = _library(options).rebuild()
    return {"bricks": count}, [f"{options.folder}: {count} brick{'' if count == 1 else 's'}."]


ACTS: dict[Act, Callable[[LibraryOptions], Answer]] = {
    "list": listed,
    "show": shown,
    "add": added,
    "search": searched,
    "remove": removed,
    "export": exported,
    "rebuild": rebuilt,
}
