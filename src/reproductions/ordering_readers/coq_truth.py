"""What coqc itself says that names refer to: its glob files, the truth for the reader of Coq files.

``coqc -dump-glob`` writes, for each declaration and each reference, where it stands (bytes) and what it is (module
path and name). References in tactics that Coq does not dump (``auto with``, words of Ltac) are missing there, so that
an edge which only the reader sees may still be right: the precision is a lower bound.
"""

import re
import subprocess
from bisect import bisect_right
from pathlib import Path

from armillary.methods.ordering.readers.coq.declarations import Declaration
from reproductions.ordering_readers.score import Edges

REFERENCE = re.compile(r"^R(\d+):\d+ (\S+) (\S+) (\S+) (\w+)$")
DEFINITION = re.compile(r"^(?!R|F|DIGEST|binder\b)(\w+) (\d+):\d+ (\S+) (\S+)$")

SECONDS = 60
"""After which a file is given up: few of the library's take longer."""


def dumped(path: Path, scratch: Path) -> str | None:
    """The glob file of a Coq file, compiled by itself; None where it does not compile so, or not in time."""
    copy = scratch / path.name
    copy.write_bytes(path.read_bytes())
    glob = scratch / "dump.glob"
    glob.unlink(missing_ok=True)
    command = ["coqc", "-q", "-w", "none", "-dump-glob", str(glob), str(copy)]
    try:
        done = subprocess.run(command, capture_output=True, cwd=scratch, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return None
    return glob.read_text("utf-8") if done.returncode == 0 and glob.exists() else None


def true_edges(text: str, glob: str, parts: list[Declaration]) -> Edges:
    """Positions of declarations and of the declarations that refer to them."""
    starts = [part.sentences[0].start for part in parts]
    bytes_before = _Offsets(text)

    def place_of(offset: int) -> int | None:
        at = bytes_before.letters(offset)
        place = bisect_right(starts, at) - 1
        return place if place >= 0 and at < parts[place].sentences[-1].end else None

    own = next((line[1:] for line in glob.splitlines() if line.startswith("F")), "")
    defined = dict[str, int]()
    references = list[tuple[str, int]]()
    for line in glob.splitlines():
        if (match := DEFINITION.match(line)) is not None:
            place = place_of(int(match[2]))
            if place is not None:
                defined.setdefault(_name(match[3], match[4]), place)
        elif (match := REFERENCE.match(line)) is not None and match[2] == own and match[5] != "not":
            place = place_of(int(match[1]))
            if place is not None:
                references.append((_name(match[3], match[4]), place))
    return {(defined[name], place) for name, place in references if name in defined and defined[name] != place}


def _name(path: str, name: str) -> str:
    return ".".join(part for part in (path, name) if part != "<>")


class _Offsets:
    """From places in a file's bytes to places in its text."""

    def __init__(self, text: str) -> None:
        self._starts = [0]
        for letter in text if not text.isascii() else "":
            self._starts.append(self._starts[-1] + len(letter.encode()))

    def letters(self, offset: int) -> int:
        """How many letters stand before this byte."""
        return offset if len(self._starts) == 1 else bisect_right(self._starts, offset) - 1
