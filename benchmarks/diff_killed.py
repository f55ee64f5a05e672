"""A diff of two real models, killed at random points, ends with the record of one that ran through.

``python -m benchmarks.diff_killed BASE AFTER [--kills 20] [--seed 0] -- [options of armillary diff]``

The command is run once in peace, which also tells how long it takes. Then it is begun in another folder and killed by
SIGKILL after a random share of that time, again and again, the run resumed each time; at last it is left to end. Exit
code 1 where the two records differ in anything that ``armillary replay`` compares. It has no ``--device`` of its own:
the diff's stands among the options.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from armillary.records.record import RunRecord


def command(models: list[str], options: list[str], out: Path) -> list[str]:
    """The diff into ``out``."""
    return [sys.executable, "-m", "armillary", "diff", *models, *options, "--out", str(out)]


def main() -> int:
    """Prints each kill, then whether the records are the same."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", help="base and after, or an adapter")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    own, options = sys.argv[1:], []
    if "--" in own:
        own, options = own[: own.index("--")], own[own.index("--") + 1 :]
    given = parser.parse_args(own)
    generator = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as scratch:
        whole, killed = Path(scratch) / "whole", Path(scratch) / "killed"
        begun = time.monotonic()
        subprocess.run(command(given.models, options, whole), check=True, capture_output=True)
        seconds = time.monotonic() - begun
        print(f"in peace: {seconds:.0f} s", flush=True)
        kills = 0
        while kills < given.kills:
            process = subprocess.Popen(
                command(given.models, options, killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            # Shorter than what is left, so that most of the kills strike before the end; each resumes what was done.
            patience = generator.uniform(0.05, 0.5) * seconds
            try:
                process.wait(patience)
                # It came to its end: from the beginning again, so that all the kills strike.
                for path in killed.glob("*.json"):
                    path.unlink()
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
                kept = len(list((killed / ".parts").rglob("*.*"))) if killed.exists() else 0
                print(f"kill {kills} after {patience:.0f} s, {kept} files kept", flush=True)
        subprocess.run(command(given.models, options, killed), check=True, capture_output=True)
        same = RunRecord.load(whole).comparable() == RunRecord.load(killed).comparable()
        print("identical" if same else "different")
        return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
