"""Versions and machine class, and nothing that tells whose machine it is."""

import getpass
import json
import platform
import subprocess
import sys
from pathlib import Path

from armillary.runs.environment import machine, versions


def test_versions_are_those_installed() -> None:
    import numpy

    found = versions()
    assert found["numpy"] == numpy.__version__
    assert "armillary" in found


def test_the_machine_has_no_name() -> None:
    facts = machine()
    assert isinstance(facts["cores"], int) and facts["cores"] >= 1
    assert facts["python"] == platform.python_version()
    words = json.dumps(facts)
    assert platform.node() not in words
    assert str(Path.home()) not in words
    assert getpass.getuser() not in words.split('"')


def test_runs_and_report_import_no_torch() -> None:
    code = """
import sys
import armillary.runs.folder, armillary.runs.parts, armillary.records.record, armillary.runs.environment
assert not {"torch", "transformers", "matplotlib"} & set(sys.modules), "heavy import"
import armillary.report.html, armillary.report.terminal, armillary.report.drawing, armillary.report.interactive
assert not {"torch", "transformers"} & set(sys.modules), "torch import"
"""
    subprocess.run([sys.executable, "-c", code], check=True)
