"""Where errors become one sentence and an exit code, in one place for all commands."""

import _thread
import errno
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence

from armillary.errors import ArmillaryError

DEBUG = "ARMILLARY_DEBUG"
"""Environment variable that shows the whole trace of an error."""

INTERNAL, WRONG, STOPPED = 1, 2, 130


def print_note(*lines: str) -> None:
    """Write to stderr, where everything goes that isn't the result."""
    print(*lines, sep="\n", file=sys.stderr)


def guarded(run: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """The exit code of ``run(arguments)``; an error becomes one sentence on stderr."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda lost: _stop_again(lost, hook)
    try:
        code = run(arguments)
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # tyro's way of ending after --help (0) and after a wrong option (2)
        return stop.code if isinstance(stop.code, int) else WRONG
    except BrokenPipeError:
        # The reader (head, less) has gone: the rest of the output has no reader, and that is no error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except BaseException as error:
        if os.environ.get(DEBUG):
            traceback.print_exc()
        sentence, code = error_sentence(error)
        print_note(sentence)
        return code
    finally:
        sys.unraisablehook = hook


def _stop_again(lost: "sys.UnraisableHookArgs", otherwise: Callable[["sys.UnraisableHookArgs"], object]) -> None:
    # A Ctrl-C that arrives inside a finaliser or a weak reference's callback is dropped by Python: send it once more,
    # from another thread and a moment later, or it would arrive here and be dropped again.
    if issubclass(lost.exc_type, KeyboardInterrupt):
        timer = threading.Timer(0.05, _thread.interrupt_main)
        timer.daemon = True
        timer.start()
    else:
        otherwise(lost)


def error_sentence(error: BaseException) -> tuple[str, int]:
    """The sentence a user reads for ``error``, and the exit code."""
    if isinstance(error, ArmillaryError):
        return f"armillary: {error}", error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "\narmillary: stopped; run the same command again to go on where it was.", STOPPED
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return (
            "armillary: there is not enough memory for this model; close other programs or take a smaller one.",
            WRONG,
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"armillary: there is no space left on the disk{_where(error)}; free some and run again.", WRONG
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"armillary: no permission to write or read{_where(error)}.", WRONG
    detail = " ".join(str(error).split())
    detail = detail if len(detail) <= 300 else detail[:300] + " ..."
    return (
        f"armillary: something unforeseen went wrong ({type(error).__name__}: {detail}); "
        f"run with {DEBUG}=1 for the whole trace.",
        INTERNAL,
    )


def _where(error: OSError) -> str:
    return f" ({error.filename})" if error.filename else ""
