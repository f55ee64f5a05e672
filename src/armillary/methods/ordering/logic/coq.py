"""Coq as the outside judge: its ``tauto`` decides formulas, its kernel checks terms, one process for many of them.

[read: Coq reference manual] ``tauto`` is complete for intuitionistic propositional logic and rests on the same
contraction-free calculus as the prover, in other code; the kernel, which type-checks terms, knows no calculus at all.
Coq is no Python package: where the program ``coqc`` is missing, what needs it says so.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from armillary.errors import ArmillaryError, UsageError
from armillary.methods.ordering.logic.derivations import Derivation
from armillary.methods.ordering.logic.formulas import ATOMS, Formula
from armillary.methods.ordering.logic.terms import coq_term, coq_type

SECONDS = 10
"""What ``tauto`` gets for one formula; small ones need milliseconds."""

BATCH = 2000
"""Formulas a process: its start, a third of a second, is then a tenth of its time, and its memory stays small."""

_ANSWER = re.compile(r"line (\d+), characters [\d-]+:\nThe command has indeed failed with message:\n(.*)")
_ERROR = re.compile(r"line (\d+), characters [\d-]+:\nError:\s*(.*)", re.DOTALL)


class CoqError(ArmillaryError):
    """Coq ended in a way that says nothing about the formulas; the sentence holds its own words."""


def coq_version() -> str:
    """As "8.16.1". UsageError where Coq is not installed."""
    text = subprocess.run([_program(), "--print-version"], capture_output=True, text=True, check=True).stdout
    return text.split()[0]


def tauto_decides(formulas: Sequence[Formula], *, seconds: int = SECONDS) -> list[bool | None]:
    """Whether ``tauto`` proves each formula; None where it was stopped after ``seconds``, which says nothing.

    UsageError where Coq is not installed, CoqError where it did not come to the end.
    """
    answers: list[bool | None] = []
    for start in range(0, len(formulas), BATCH):
        batch = formulas[start : start + BATCH]
        # ``gfail`` fails after a success too, so that each line prints a message, which says how it failed.
        goals = [
            f'Goal {coq_type(formula)}. Fail timeout {seconds} tauto; gfail "proved". Abort.' for formula in batch
        ]
        code, printed = _compiled(goals)
        messages = {int(line): message for line, message in _ANSWER.findall(printed)}
        if code or len(messages) != len(batch):
            raise CoqError(
                f"Coq did not decide all {len(batch)} formulas of a file; it ended with {printed[-300:]!r}."
            )
        for line in range(2, len(batch) + 2):
            proved, refused = "proved" in messages[line], "tauto failed" in messages[line]
            answers.append(proved if proved or refused else None)
    return answers


def refused_by_kernel(proofs: Sequence[tuple[Formula, Derivation]]) -> dict[int, str]:
    """The places of the proofs whose terms Coq's kernel refuses, each with Coq's words; empty where it accepts all.

    UsageError where Coq is not installed, CoqError where it did not come to the end.
    """
    return refused_terms([(formula, coq_term(formula, derivation)) for formula, derivation in proofs])


def refused_terms(terms: Sequence[tuple[Formula, str]]) -> dict[int, str]:
    """As ``refused_by_kernel``, of terms that are already written out. Each that is refused costs a process."""
    refused: dict[int, str] = {}
    start = 0
    while start < len(terms):
        batch = terms[start : start + BATCH]
        code, printed = _compiled(
            [f"Definition t{place} : {coq_type(formula)} := {term}." for place, (formula, term) in enumerate(batch)]
        )
        if not code:
            start += len(batch)
            continue
        error = _ERROR.search(printed)
        if error is None:
            raise CoqError(f"Coq ended with code {code} and {printed[-300:]!r}.")
        place = start + int(error[1]) - 2
        refused[place] = " ".join(error[2].split())
        start = place + 1
    return refused


def _program() -> str:
    program = shutil.which("coqc")
    if program is None:
        raise UsageError("this needs Coq, and the program coqc was not found: install the Debian package coq.")
    return program


def _compiled(lines: Sequence[str]) -> tuple[int, str]:
    """Exit code and printed text of a file with these lines, the first of which is line 2, the atoms being given."""
    program = _program()
    with TemporaryDirectory(prefix="armillary-coq-") as folder:
        text = [f"Section Proofs. Variables {' '.join(ATOMS)} : Prop.", *lines, "End Proofs."]
        Path(folder, "proofs.v").write_text("\n".join(text) + "\n", "utf-8")
        # Only in test mode does the compiler print what ``Fail`` has caught.
        command = [program, "-q", "-noglob", "-test-mode", "proofs.v"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr
