"""``armillary bricks library DIR ...``: bricks kept in a folder: listed, shown, added, found, removed, exported."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import tyro

from armillary.cli.options import Folder, read
from armillary.data import capability_texts
from armillary.errors import StorageError, UsageError
from armillary.files import text_lines
from armillary.records.plain import dumps
from armillary.runs.run import load_model
from armillary.runs.settings import DRY_MODEL, ModelSettings

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
class LibraryOptions(ModelSettings):
    """Keep bricks in a folder: list, show ID, add ADAPTER, search TEXT, remove ID, export ID, rebuild.

    An ID may be shortened to its first 4 digits or more. Adapters and edits in a library are folders that PEFT opens.
    """

    command: ClassVar[str] = "bricks library"

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

    allow_different_base: bool = False
    """add: keep an adapter whose configuration names another base than MODEL all the same."""

    keys_from: Annotated[str | None, tyro.conf.arg(metavar="CAPABILITY | FILE")] = None
    """add: what the brick is for, so that search finds it: a capability, or a file with one text a line."""

    k: int = 3
    """search: bricks to name at most."""

    threshold: float = 0.0
    """search: least score at which a brick counts as fitting."""

    arrow: bool = False
    """search: by the direction that an adapter's change answers most (Arrow), which needs no keys."""

    to: Folder = None
    """export: new PEFT folder."""

    json: bool = False
    """Print the answer as JSON on stdout."""

    dry_run: bool = False
    """Take a tiny random model in the place of MODEL."""


def run(arguments: Sequence[str]) -> int:
    """The action."""
    options = read(LibraryOptions, arguments, LibraryOptions.command)
    needs = {"show": "the id of a brick", "remove": "the id of a brick", "export": "the id of a brick",
             "add": "the folder of an adapter", "search": "a text"}  # fmt: skip
    if options.act in needs and not options.what.strip():
        raise UsageError(f"`library {options.folder} {options.act}` needs {needs[options.act]}.")
    if options.act not in needs and options.what:
        raise UsageError(f"`library {options.folder} {options.act}` takes nothing more; got {options.what!r}.")
    if options.act != "add" and not options.folder.is_dir():
        raise StorageError(f"there is no library at {options.folder}.")
    answer = ACTS[options.act](options)
    if options.json:
        sys.stdout.write(dumps(answer.data, indent=1) + "\n")
    else:
        print("\n".join(answer.lines))
    return 0


@dataclass(frozen=True)
class LibraryAnswer:
    """What is printed: JSON data, or lines for a reader."""

    data: Any
    lines: Sequence[str]


def opened_library(options: LibraryOptions) -> "BrickLibrary":
    """The library, made if need be."""
    from armillary.methods.bricks.library.brick_library import BrickLibrary

    return BrickLibrary(options.folder)


def opened_model(options: LibraryOptions, name: str | None) -> "LoadedModel":
    """The model of that name, or a tiny one."""
    return load_model(DRY_MODEL if options.dry_run or name is None else name, options)


def encoder_of(loaded: "LoadedModel") -> "MidLayerEncoder":
    """What keys and queries are read by."""
    from armillary.data.texts.corpora import corpus_texts
    from armillary.methods.bricks.library.retrieval import MidLayerEncoder

    return MidLayerEncoder(loaded, background=corpus_texts(BACKGROUND, limit=CENTRED))


def list_bricks(options: LibraryOptions) -> LibraryAnswer:
    """A line a brick."""
    entries = opened_library(options).entries()
    rows = [
        f"{entry.id[:12]}  {entry.payload:10}  {entry.bytes / 1e6:8.2f} MB  {entry.name}"
        + (f"  ({', '.join(entry.capabilities)})" if entry.capabilities else "")
        for entry in entries
    ]
    return LibraryAnswer(entries, rows or [f"{options.folder} holds no brick yet."])


def show_brick(options: LibraryOptions) -> LibraryAnswer:
    """What is known of one brick."""
    brick = opened_library(options).get(options.what)
    provenance, cost = brick.meta.provenance, brick.cost
    layers = sorted({site.layer for site in brick.sites if site.layer is not None})
    rows = {
        "id": brick.id,
        "name": brick.name,
        "kind": f"{brick.origin}, {brick.kind}, {brick.granularity}",
        "made by": provenance.method or "unknown",
        "base": f"{provenance.base or 'unknown'} ({brick.base.model_type}, {brick.base.fingerprint})",
        "data": provenance.data or "unknown",
        "licence": provenance.licence or "unknown",
        "sites": f"{len(brick.sites)} in layers {', '.join(map(str, layers)) or 'none'}",
        "numbers": f"{cost.params:,}, {cost.bytes / 1e6:.2f} MB stored",
        "keys": "none: search finds it with --arrow only" if brick.meta.keys is None else brick.meta.keys.encoder,
        "parents": ", ".join(parent[:12] for parent in brick.parents) or "none",
    }
    return LibraryAnswer({"id": brick.id, **brick.to_dict()}, [f"{name:8}  {value}" for name, value in rows.items()])


def add_adapter(options: LibraryOptions) -> LibraryAnswer:
    """The id under which an adapter is kept."""
    from armillary.methods.bricks.library.peft import brick_from_adapter
    from armillary.methods.bricks.library.retrieval import make_keys

    if options.model is None and not options.dry_run:
        raise UsageError("`library add` needs --model, the base that the adapter was trained on.")
    if not Path(options.what).is_dir():
        raise UsageError(f"there is no folder {options.what!r}; give one that PEFT's save_pretrained wrote.")
    texts = None if options.keys_from is None else key_texts(options.keys_from, options.seed)
    loaded = opened_model(options, options.model)
    given = {"name": options.name, "licence": options.licence}
    brick = brick_from_adapter(options.what, loaded, allow_different_base=options.allow_different_base, **given)
    if texts is not None:
        encoder = encoder_of(loaded)
        keys = make_keys(encoder, texts, name=encoder.name)
        brick = replace(brick, meta=replace(brick.meta, keys=keys))
    kept = opened_library(options).add(brick)
    hint = "" if texts is not None else " It has no keys (--keys-from), so search finds it with --arrow only."
    return LibraryAnswer({"id": kept}, [f"Added {brick.name}: {kept[:12]}.{hint}"])


def key_texts(source: str, seed: int) -> list[str]:
    """Texts of a file, or of a capability. UsageError where there is none."""
    if not Path(source).is_file():
        return capability_texts(source, split="calibrate", limit=KEY_TEXTS, seed=seed)
    texts = text_lines(source)
    if not texts:
        raise UsageError(f"{source} holds no text; give one a line.")
    return texts


def search(options: LibraryOptions) -> LibraryAnswer:
    """The bricks that fit a text, best first, or that none does."""
    library = opened_library(options)
    if not options.arrow:
        library.keys()  # refuses a library without keys before a model is opened
    name = options.model or base_of(library)
    if name is None and not options.dry_run:
        raise UsageError("the library does not tell its base model; give --model.")
    loaded = opened_model(options, name)
    text, k, threshold = options.what, options.k, options.threshold
    if options.arrow:
        (result,) = library.search_by_arrow(text, loaded, k=k, threshold=threshold)
    else:
        (result,) = library.search(text, encoder=encoder_of(loaded), k=k, threshold=threshold)
    names = {entry.id: entry.name for entry in library.entries()}
    lines = [f"{row.score:6.3f}  {row.brick[:12]}  {names[row.brick]}" for row in result.chosen]
    data = {**result.to_dict(), "names": {row.brick: names[row.brick] for row in result.chosen}}
    return LibraryAnswer(data, lines or [result.sentence])


def base_of(library: "BrickLibrary") -> str | None:
    """The base model that the first brick was made for, of those that tell it; bricks with keys before others."""
    from armillary.methods.bricks.library.brick_library import BRICKS
    from armillary.methods.bricks.library.folder import read_card

    metas = [read_card(library.path / BRICKS / entry.id).meta for entry in library.entries()]
    # Keys are of one encoder, so that of a brick with keys is the model that the keys were read by.
    metas.sort(key=lambda meta: meta.keys is None)
    return next((meta.provenance.base for meta in metas if meta.provenance.base), None)


def remove_brick(options: LibraryOptions) -> LibraryAnswer:
    """The brick that was taken out."""
    name = opened_library(options).remove(options.what)
    return LibraryAnswer({"removed": name}, [f"Removed {name[:12]}."])


def export_brick(options: LibraryOptions) -> LibraryAnswer:
    """The PEFT folder of a brick."""
    from armillary.methods.bricks.library.peft import write_adapter

    if options.to is None:
        raise UsageError("`library export` needs --to, the name of a new folder.")
    library = opened_library(options)
    brick = library.get(options.what)
    write_adapter(brick, options.to, beside=library.folder(options.what))
    return LibraryAnswer({"id": brick.id, "to": str(options.to)}, [f"Exported {brick.name}: {options.to}"])


def rebuild(options: LibraryOptions) -> LibraryAnswer:
    """How many bricks the index now has."""
    count = opened_library(options).rebuild()
    return LibraryAnswer({"bricks": count}, [f"{options.folder}: {count} brick{'' if count == 1 else 's'}."])


ACTS: dict[Act, Callable[[LibraryOptions], LibraryAnswer]] = {
    "list": list_bricks,
    "show": show_brick,
    "add": add_adapter,
    "search": search,
    "remove": remove_brick,
    "export": export_brick,
    "rebuild": rebuild,
}
