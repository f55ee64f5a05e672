"""The outer shell of the command line: help, versions, wrong words, exit codes."""

import errno
import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

from armillary.cli import console
from armillary.cli.dispatch import Verb
from armillary.cli.main import COMMANDS, VERBS, main, usage
from armillary.errors import ArmillaryError, CheckFailed, UsageError

Capture = pytest.CaptureFixture[str]


def test_overview_names_every_command(capsys: Capture) -> None:
    for arguments in ([], ["--help"], ["-h"]):
        assert main(arguments) == 0
        assert capsys.readouterr().out.strip() == usage()
    methods = {verb.words.split()[0] for verb in VERBS}
    for command in [*VERBS, *(command for command in COMMANDS if command.name not in methods)]:
        assert f"  {command.name} " in usage() and command.summary in usage()
    assert methods < {command.name for command in COMMANDS} and all(f" {name}" in usage() for name in methods)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_a_verb_is_the_command_of_a_method(verb: Verb, capsys: Capture) -> None:
    assert main([*verb.words.split(), "--help"]) == 0
    named = capsys.readouterr().out
    assert main([verb.name, "--help"]) == 0
    typed = capsys.readouterr().out
    assert f"usage: armillary {verb.name}" in typed and f"usage: armillary {verb.words}" in named
    assert typed.partition("OPTIONS")[2].replace(" ", "") == named.partition("OPTIONS")[2].replace(" ", "")
    assert main([verb.name, "--nothing"]) == 2
    assert f"`armillary {verb.name} --help` shows what is accepted" in capsys.readouterr().err


def test_version(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "armillary 0.1.0\n"


@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_help_of_every_command(name: str, capsys: Capture) -> None:
    assert main([name, "--help"]) == 0
    told = capsys.readouterr()
    assert f"usage: armillary {name}" in told.out
    assert "Any" not in told.out and told.err == ""


def test_a_wrong_value_is_told_without_what_was_tried(capsys: Capture) -> None:
    assert main(["diff", "a", "b", "--most-prompts", "x"]) == 2
    told = capsys.readouterr().err
    assert "invalid value 'x' for argument '--most-prompts', which takes INT; `armillary diff --help`" in told


@pytest.mark.parametrize("name", ["diff", "checkup", "lincorr", "modeldiff", "reproduce"])
def test_runs_share_their_options(name: str, capsys: Capture) -> None:
    main([name, "--help"])
    out = capsys.readouterr().out
    for option in ("--seed INT", "--out DIR", "--json", "--dry-run", "--fresh"):
        assert option in out


@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_help_loads_nothing_heavy(name: str) -> None:
    code = (
        "import sys\nfrom armillary.cli.main import main\n"
        f"code = main([{name!r}, '--help'])\n"
        "heavy = {'torch', 'transformers', 'matplotlib', 'scipy', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(code if not heavy else f'loaded: {heavy}')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_unknown_command_gets_near_names(capsys: Capture) -> None:
    assert main(["chekup", "x"]) == 2
    told = capsys.readouterr()
    assert "did you mean checkup" in told.err and told.out == ""
    assert main(["explor", "x"]) == 2
    assert "did you mean explore" in capsys.readouterr().err
    assert main(["zzzz"]) == 2
    assert "accepted: diff, checkup, lincorr" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["checkup"], "MODEL"),
        (["checkup", "tiny-llama", "--sede", "3"], "--seed"),
        (["checkup", "tiny-llama", "--seed", "three"], "three"),
        (["lincorr", "tiny-llama", "--policy", "some"], "some"),
        (["reproduce", "lincorr", "--preset", "huge"], "huge"),
        (["models", "fech"], "fetch"),
        (["report", "one", "two"], "two"),
    ],
)
def test_wrong_options_exit_2_on_stderr(arguments: list[str], word: str, capsys: Capture) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert word in told.err and told.err.count("\n") == 1 and told.out == ""


def test_module_runs_like_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "armillary", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "armillary 0.1.0\n")


def raising(error: BaseException) -> "Raise":
    return Raise(error)


class Raise:
    """A command that does nothing but fail."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, arguments: Sequence[str]) -> int:
        raise self.error


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (UsageError("The list is empty."), 2, "armillary: The list is empty."),
        (ArmillaryError("Odd."), 2, "Odd."),
        (CheckFailed("A claim fails."), 1, "A claim fails."),
        (KeyboardInterrupt(), 130, "run the same command again"),
        (
            OSError(errno.ENOSPC, "No space left on device", "record.json"),
            2,
            "no space left on the disk (record.json)",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "record.json"), 2, "no permission"),
        (MemoryError(), 2, "not enough memory"),
        (ZeroDivisionError("division by zero"), 1, "ZeroDivisionError: division by zero"),
        (ValueError("x" * 1000), 1, "..."),
    ],
)
def test_errors_become_one_sentence(error: BaseException, code: int, word: str, capsys: Capture) -> None:
    assert console.guarded(raising(error), []) == code
    told = capsys.readouterr()
    assert told.out == "" and word in told.err
    assert len(told.err.strip().splitlines()) == 1
    assert "Traceback" not in told.err


def test_debug_shows_the_trace(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(console.DEBUG, "1")
    assert console.guarded(raising(UsageError("Wrong.")), []) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_error() -> None:
    # The command begins to write only when the other end of its pipe is closed.
    read, write = os.pipe()
    waiting = (
        "import sys; sys.stdin.readline()\nfrom armillary.cli.main import main\nsys.exit(main(['list', '--json']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", waiting], stdin=subprocess.PIPE, stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    os.close(read)
    _, err = process.communicate("go\n", timeout=60)
    assert (process.returncode, err) == (0, "")
