"""Ctrl-C: one sentence, exit code 130, and the same command goes on."""

import signal
import subprocess
import sys
import time
from pathlib import Path

# The parent of the tests may ignore SIGINT (a shell's background job does); a person's terminal doesn't.
COMMAND = (
    "import signal, sys\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from armillary.cli.main import main\n"
    "sys.exit(main(sys.argv[1:]))"
)


def test_ctrl_c_is_told_in_one_sentence_and_nothing_half_written_stays(tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = [sys.executable, "-c", COMMAND, "checkup", "any", "--dry-run", "--out", str(out)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (out / ".parts").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    told, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "run the same command again" in err and "Traceback" not in err and told == ""
    assert not (out / "record.json").exists()
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0 and (out / "record.json").exists()


LOST = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from armillary.cli.console import guarded

class Finaliser:
    def __del__(self):
        raise KeyboardInterrupt

def run(arguments):
    Finaliser()
    for _ in range(200):
        time.sleep(0.05)
    return 0

sys.exit(guarded(run, []))
"""


def test_ctrl_c_inside_a_finaliser_is_not_lost() -> None:
    done = subprocess.run([sys.executable, "-c", LOST], capture_output=True, text=True)
    assert done.returncode == 130, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
