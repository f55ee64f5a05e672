"""How far a reader travels through the code: ``python tools/trips.py`` walks six commands and counts.

Each trip runs a command on tiny random models and notes every function of ours in the order in which it is first
called: the order in which a reader who follows the program meets them. A room is a file. Shown are the rooms entered,
the stays (runs of functions in one room), and the returns: stays in a room that had been left. The fewer returns, the
less a reader jumps back and forth. Another checkout is walked with ``PYTHONPATH=CHECKOUT/src``.
"""

import contextlib
import io
import sys
import tempfile
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any


def trips(folder: Path) -> dict[str, list[str]]:
    """The command line of each trip; files that it needs are written to ``folder``."""
    table = folder / "vectors.csv"
    rows = [f"{index % 7}.5,{index % 5}.25,{'even' if index % 2 == 0 else 'odd'}" for index in range(60)]
    table.write_text("\n".join(["x,y,label", *rows]) + "\n")
    relation, vectors = ["--relation", "city-country"], [str(table), "--targets", "label"]
    return {
        "model name to check-up": ["checkup", "any", "--dry-run", "--out", str(folder / "checkup")],
        "relation to LinCorr": ["lincorr", "any", *relation, "--dry-run", "--out", str(folder / "lincorr")],
        "text to profile": ["bricks", "profile", "any", "--dry-run", "--out", str(folder / "profile")],
        "vector to fit": ["vector-icl", "fit", *vectors, "--dry-run", "--out", str(folder / "fit")],
        "two models to Model-diff": ["modeldiff", "any", "other", "--dry-run", "--out", str(folder / "modeldiff")],
        "figure to page": ["report", str(folder / "checkup"), "--out", str(folder / "page")],
    }


def walk(arguments: list[str]) -> list[str]:
    """The room of each function of ours, in the order of first calls."""
    from armillary.cli.main import main

    root = str(Path(sys.modules["armillary"].__file__ or "").parent)
    seen: set[tuple[str, str]] = set()
    rooms: list[str] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        name = (code.co_filename, code.co_qualname)
        # Modules and classes run once when they are imported, which is no step of the trip.
        if event == "call" and code.co_filename.startswith(root) and name not in seen and code.co_name != "<module>":
            seen.add(name)
            rooms.append(code.co_filename.removeprefix(root))

    silence = io.StringIO()
    with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
        sys.setprofile(note)
        try:
            code = main(arguments)
        finally:
            sys.setprofile(None)
    if code:
        raise SystemExit(f"`armillary {' '.join(arguments)}` ended with {code}: {silence.getvalue()[-500:]}")
    return rooms


def main() -> int:
    """Print the table."""
    print("| trip | rooms | stays | returns |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in trips(Path(folder)).items():
            rooms = walk(arguments)
            stays = sum(1 for _ in groupby(rooms))
            print(f"| {name} | {len(set(rooms))} | {stays} | {stays - len(set(rooms))} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
