"""Whether a tactic needs a hypothesis of an earlier one, asked of coqc: the truth for the reader of Coq proofs.

A glob file says nothing of hypotheses. So the hypothesis is given another name where the edge says that it comes from,
and in all that stands between; the using sentence keeps the old name. If Coq stops at that sentence, it needed this
hypothesis of this name: the edge is true. If it goes on, the edge is false. If it stops before, nothing is known.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from armillary.methods.ordering.readers.coq.declarations import Declaration
from reproductions.ordering_readers.coq_truth import SECONDS

Answer = Literal["true", "false", "unknown"]

RENAMED = "renamed_by_the_check"


@dataclass(frozen=True)
class Asked:
    """One edge of one proof of a file."""

    text: str
    part: Declaration
    support: int
    """Position, bullets left out, of the sentence that introduces the name."""
    step: int
    name: str


def answer(edge: Asked, scratch: Path) -> Answer:
    """What coqc says of the edge; unknown also where the unchanged proof does not come as far by itself."""
    steps = [sentence for sentence in edge.part.sentences if not sentence.focus]
    giver, user = steps[edge.support], steps[edge.step]
    word = re.compile(rf"(?<![\w'.]){re.escape(edge.name)}(?![\w'])")
    before = edge.text[: giver.start]
    between = word.sub(RENAMED, edge.text[giver.start : user.start])
    # Not as far without the change: a file that needs its neighbours, or options of its own.
    if _stops_at(edge.text[: user.end], scratch) is not None:
        return "unknown"
    changed = before + between + edge.text[user.start : user.end]
    stop = _stops_at(changed, scratch)
    if stop is None:
        return "false"
    return "true" if stop >= len((before + between).encode()) else "unknown"


def _stops_at(text: str, scratch: Path) -> int | None:
    """Place, in bytes, of the sentence that coqc refuses; None where it refuses none but the end of an open proof."""
    path = scratch / "asked.v"
    path.write_text(text + "\n", "utf-8")
    try:
        done = subprocess.run(
            ["coqc", "-q", "-w", "none", str(path)],
            capture_output=True, text=True, cwd=scratch, timeout=SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return 0
    place = re.search(r'File "[^"]*", line (\d+), characters (\d+)-\d+:\s*\nError', done.stderr)
    if place is None or "There are pending proofs" in done.stderr:
        return None
    lines = text.encode().split(b"\n")
    return sum(len(line) + 1 for line in lines[: int(place[1]) - 1]) + int(place[2])
