"""Ctrl-C: one sentence, exit code 130, and the same command goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from processes import start_command


def test_ctrl_c_is_told_in_one_sentence_and_nothing_half_written_stays(tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["modeldiff", "any", "other", "--dry-run", "--out", str(out)]
    process = start_command(arguments, tmp_path, interactive=False)
    while not (out / ".parts").exists():
        assert process.exitcode is None, (tmp_path / "stderr").read_text("utf-8")
        time.sleep(0.02)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join(timeout=60)
    err = (tmp_path / "stderr").read_text("utf-8")
    assert process.exitcode == 130, err
    assert "run the same command again" in err and "Traceback" not in err
    assert (tmp_path / "stdout").read_text("utf-8") == ""
    assert not (out / "record.json").exists()
    again = start_command(arguments, tmp_path, interactive=False)
    again.join()
    assert again.exitcode == 0 and (out / "record.json").exists()


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
