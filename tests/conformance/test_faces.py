"""What a type checker sees of the public names: nothing is ``Any``, and every name of a stub is really there."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from tools import house

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"


def faces() -> dict[str, list[str]]:
    """Public names of every package that has some, from its stub or its ``__all__``."""
    names: dict[str, list[str]] = {}
    for path in sorted((SOURCE / "armillary").rglob("__init__.py")):
        stub = path.with_suffix(".pyi")
        body = ast.parse((stub if stub.exists() else path).read_text("utf-8")).body
        public = [
            alias.asname or alias.name
            for node in body
            if isinstance(node, ast.ImportFrom) and (stub.exists() or (node.module or "").startswith("armillary"))
            for alias in node.names
        ]
        public += [
            node.target.id for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        ]
        if public:
            names[house.module_name(path, SOURCE)] = public
    return names


FACES = faces()


def test_the_seven_methods_and_the_top_have_a_face() -> None:
    assert {"armillary", "armillary.models", "armillary.methods.bricks"} <= set(FACES)
    entries = {"lincorr", "Navigator", "compare", "Brick", "MDGDTrainer", "CoMMITTrainer", "VectorICLClassifier"}
    assert entries <= set(FACES["armillary"])


@pytest.mark.parametrize("package", FACES)
def test_every_name_is_there(package: str) -> None:
    module = importlib.import_module(package)
    for name in FACES[package]:
        assert getattr(module, name) is not None


def test_no_public_name_is_any(tmp_path: Path) -> None:
    # mypy goes on from what `make lint` has left in its cache; without it this reads the whole package once.
    lines = [f"import {package}" for package in FACES]
    lines += [f"reveal_type({package}.{name})" for package, names in FACES.items() for name in names]
    lines += ["reveal_type(armillary.cards.nothing_here)"]
    file = tmp_path / "public_names.py"
    file.write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(file)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    revealed = [
        line.split("Revealed type is ")[1].strip().strip("\"'") for line in said.splitlines() if "Revealed" in line
    ]
    count = sum(map(len, FACES.values()))
    assert len(revealed) == count + 1, said[-2000:]
    # The last asks for a name that is not there: mypy says Any of it, so this test can fail.
    assert revealed.pop() == "Any"
    names = [f"{package}.{name}" for package, public in FACES.items() for name in public]
    assert [name for name, kind in zip(names, revealed, strict=True) if kind == "Any"] == []
