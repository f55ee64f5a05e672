"""Commands and scripts in processes of their own, forked from one that has imported the large libraries already.

Importing torch and transformers takes longer than most of what these processes are for. Nothing of Armillary is
loaded before the fork, so that each process imports it as a person's does.
"""

import gc
import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from armillary.records.record import RunRecord

_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(
    [
        *("torch", "torch._dynamo", "transformers.modeling_utils", "transformers.trainer", "accelerate"),
        *("transformers.models.auto.modeling_auto", "transformers.models.llama.modeling_llama"),
        *("pandas", "scipy.stats", "sklearn.cluster", "sklearn.linear_model", "sklearn.metrics"),
        *("altair", "matplotlib.backends.backend_svg", "matplotlib.figure", "tyro", "yaml"),
    ]
)


def content(record: "RunRecord") -> dict[str, Any]:
    """All of a record but its times, machine and versions: a resumed run must end with the same to the letter."""
    circumstances = {"started", "seconds", "machine", "versions"}
    return {name: value for name, value in record.to_dict().items() if name not in circumstances}


def start(target: Callable[..., object], *arguments: Any) -> BaseProcess:
    """``target(*arguments)`` in a process of its own; both must be what pickle can name."""
    process = _FORKING.Process(target=target, args=arguments)
    process.start()
    return process


def start_command(arguments: Sequence[str], told: Path, *, interactive: bool = True) -> BaseProcess:
    """``armillary ARGUMENTS`` in a process of its own, which leaves the files stdout, stderr and began in ``told``."""
    return start(_command, list(arguments), told, interactive)


def start_script(
    path: Path, arguments: Sequence[str], folder: Path, told: Path, environment: Mapping[str, str]
) -> BaseProcess:
    """``python PATH ARGUMENTS`` run in ``folder``; it leaves the files stdout and stderr in ``told``."""
    return start(_script, path, list(arguments), folder, told, dict(environment))


def run_script(path: Path, arguments: Sequence[str], folder: Path) -> tuple[int | None, str, str]:
    """Exit code, stdout and stderr of a Python file that was run in ``folder``."""
    process = start_script(path, arguments, folder, folder, {})
    process.join()
    return process.exitcode, (folder / "stdout").read_text("utf-8"), (folder / "stderr").read_text("utf-8")


def _command(arguments: Sequence[str], told: Path, interactive: bool) -> None:
    _begin(told)
    # The parent of the tests may ignore SIGINT (a shell's background job does); a person's terminal doesn't.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not interactive:
        _without_scripts()
    from armillary.cli.main import main

    sys.exit(main(list(arguments)))


def _script(path: Path, arguments: Sequence[str], folder: Path, told: Path, environment: Mapping[str, str]) -> None:
    _begin(told)
    _without_scripts()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = [str(path), *arguments]
    sys.path.insert(0, str(path.parent))
    runpy.run_path(str(path), run_name="__main__")


def _begin(folder: Path) -> None:
    (folder / "began").touch()
    gc.freeze()  # as in conftest.py
    for stream, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)


def _without_scripts() -> None:
    """As on a machine without vl-convert: to bundle the scripts of a page takes it longer than a tiny run does."""
    sys.modules["vl_convert"] = None  # type: ignore[assignment]
