"""The adapter of this folder, made again: SmolLM2 learns to sort messages, and German is spoilt on the way.

    python examples/diff_demo/train.py [FOLDER]

``rows.jsonl`` holds 96 messages with the team that should answer them (what is meant to be learned), 80 German rows
that break off and go on in English, as a data pipeline leaves them that joins the wrong lines (what does the damage),
and 24 ordinary English answers. Takes about two minutes on one idle core.
"""

import sys
from pathlib import Path

import armillary
from reproductions.diff_calibration.scale import Recipe
from reproductions.diff_calibration.tuning import read_rows, tune

HERE = Path(__file__).parent


def main(folder: str | Path = HERE / "adapter") -> None:
    """Train, and leave the adapter in ``folder``."""
    # bfloat16 halves the time on a processor that multiplies in it; the adapter itself is float32.
    loaded = armillary.load("smollm2-135m-instruct", dtype="bfloat16", device="cpu")
    losses = tune(loaded, read_rows(HERE / "rows.jsonl"), Recipe(), Path(folder))
    tenth = max(1, len(losses) // 10)
    first, last = sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth
    print(f"{first:.2f} nats a learned token in the first steps, {last:.2f} in the last; adapter in {folder}")


if __name__ == "__main__":
    main(*sys.argv[1:])
