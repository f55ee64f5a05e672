"""The rules of the house, read from the code itself: who imports whom, sizes, names, what loads when."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "armillary"
MODULES = sorted(SOURCE.rglob("*.py"))
ALL_PYTHON = sorted(
    path for room in ("src", "tests", "examples", "benchmarks") for path in (ROOT / room).rglob("*.py")
)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


LEAVES = {"errors", "progress", "cards", "files", "extras"}
FOUNDATIONS = {
    "numerics",
    "fetch",
    "models",
    "scoring",
    "activations",
    "data",
    "training",
    "records",
    "report",
    "runs",
}
ALLOWED = {
    "errors": set(),
    "progress": set(),
    "cards": set(),
    "files": set(),
    "extras": set(),
    "numerics": set(),
    "fetch": set(),
    "records": {"numerics"},
    "models": {"fetch", "numerics"},
    "scoring": {"models", "numerics"},
    "activations": {"models", "numerics"},
    "data": {"models", "fetch", "numerics"},
    "training": {"models", "activations", "scoring", "data", "numerics"},
    "report": {"records", "numerics"},
    "runs": {"records", "report", "models", "numerics"},
    "methods": FOUNDATIONS,
    "checkup": FOUNDATIONS | {"methods"},
    "finetuning": FOUNDATIONS | {"methods"},
    "cli": FOUNDATIONS | {"methods", "checkup", "finetuning", "armillary"},
}
"""Rooms that each room may import, beside itself and the leaves."""

MAX_FILE, MAX_FUNCTION = 600, 50
HEAVY = ("torch", "transformers", "matplotlib", "numpy", "scipy", "sklearn", "altair", "pandas")


def imports(path: Path) -> Iterator[str]:
    """Every module of ours that ``path`` imports, at its top or inside a function."""
    package = ("armillary", *path.relative_to(SOURCE).parts[:-1])
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "armillary")
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            if module.split(".")[0] == "armillary":
                yield from (f"{module}.{alias.name}" for alias in node.names)


def room(dotted: str) -> str:
    """``numerics`` of ``armillary.numerics.intervals.Interval``; ``armillary`` of names of the package itself."""
    known = dotted.split(".")[1:2]
    return known[0] if known and known[0] in ALLOWED else "armillary"


def violations(path: Path) -> list[str]:
    """Imports of ``path`` that point the wrong way."""
    parts = path.relative_to(SOURCE).parts
    own = Path(parts[0]).stem
    if own in ("__init__", "__main__"):
        return []
    found = []
    for name in imports(path):
        other = room(name)
        method = name.split(".")[2:3]
        strange_method = own == other == "methods" and len(parts) > 2 and method != [parts[1]]
        if strange_method or (other != own and other not in ALLOWED[own] | LEAVES):
            found.append(name)
    return found


def test_imports_point_the_right_way() -> None:
    assert {str(path): found for path in MODULES if (found := violations(path))} == {}


def test_the_import_rule_can_fail() -> None:
    assert room("armillary.numerics.intervals.Interval") == "numerics"
    assert room("armillary.__version__") == "armillary"
    assert "methods" not in ALLOWED["runs"] and "cli" not in ALLOWED["checkup"]
    found = {room(name) for name in imports(SOURCE / "cli" / "checkup.py")}
    assert {"checkup", "records", "cli"} <= found


@pytest.mark.parametrize("name", ["records", "report"])
def test_records_need_no_torch(name: str) -> None:
    for path in (SOURCE / name).rglob("*.py"):
        for node in ast.walk(tree(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [found for found in names if found.split(".")[0] in ("torch", "transformers")], path


def test_files_and_functions_stay_small() -> None:
    files = {str(path): lines for path in ALL_PYTHON if (lines := path.read_text("utf-8").count("\n")) > MAX_FILE}
    assert files == {}
    functions = {
        f"{path} {node.name}": lines
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.end_lineno is not None
        and (lines := node.end_lineno - node.lineno + 1) > MAX_FUNCTION
    }
    assert functions == {}


def test_modules_say_what_they_are() -> None:
    for path in MODULES:
        assert path.stem not in ("utils", "util", "helpers", "common", "misc"), path
        taken = [node for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom)]
        stars = [node.module for node in taken if node.names[0].name == "*"]
        assert stars == [], path
        assert ast.get_docstring(tree(path)) or path.stat().st_size < 10, f"{path}: a module begins with what it holds"
        assert not re.search(r"\b(TODO|FIXME|XXX)\b", path.read_text("utf-8")), path


def loaded_by(code: str) -> set[str]:
    """Heavy libraries that are loaded after ``code`` ran in a fresh interpreter."""
    told = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return {name for name in HEAVY if name in told.stdout.split()}


def test_importing_armillary_loads_nothing_heavy() -> None:
    assert loaded_by("import torch") >= {"torch"}
    assert loaded_by("import armillary, armillary.cli.main, armillary.cards") == set()


def test_command_files_load_numpy_at_most() -> None:
    modules = ", ".join(f"armillary.cli.{path.stem}" for path in (SOURCE / "cli").glob("*.py"))
    assert loaded_by(f"import {modules}") <= {"numpy"}


def test_a_record_is_read_without_torch() -> None:
    code = "import armillary; armillary.RunRecord; import armillary.report.html, armillary.report.terminal"
    assert "torch" not in loaded_by(code)


def test_public_names_resolve() -> None:
    import armillary

    assert {"load", "tiny", "LoadedModel", "__version__"} <= set(armillary.__all__)
    for name in armillary.__all__:
        assert getattr(armillary, name) is not None
    with pytest.raises(AttributeError, match="nothing_here"):
        armillary.nothing_here  # noqa: B018


def test_no_public_name_is_hidden_by_a_file() -> None:
    """Importing ``package.name`` as a module would put the module where the function of that name is looked for."""
    for path in SOURCE.rglob("__init__.py"):
        package = ".".join(path.parent.relative_to(SOURCE.parent).parts)
        homes = getattr(importlib.import_module(package), "_HOMES", {})
        files = {other.stem for other in path.parent.iterdir() if other.stem != "__init__"}
        assert not set(homes) & files, f"{package}: rename the files {sorted(set(homes) & files)}"


def test_version_and_changelog_agree() -> None:
    import armillary

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == armillary.__version__
    assert f"## {armillary.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_constraints_pin_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    lines = (ROOT / "constraints.txt").read_text("utf-8").split()
    pinned = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines}
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.!-]+", line) for line in lines)
    names = {re.sub(r"[-_.]+", "-", re.split(r"[<>=\[ ]", text)[0]).lower() for text in needed}
    assert names <= pinned
    assert all("<" in text for text in needed if not text.startswith("pycountry")), "dependencies are bounded"


# Spelled in two halves, so that this file doesn't hold what it forbids.
FOREIGN = [
    "/wo" + "rk/",
    "/op" + "t/",
    "/ro" + "ot/",
    "pypi" + "-more",
    "find" + "-links",
    "shared/" + "papers",
    "ARCHI" + "TECTURE",
]


def written_files() -> Iterator[Path]:
    """Every text file that a reader of the repository sees."""
    rooms = ("src", "tests", "docs", "examples", "benchmarks", "results", ".ci")
    for path in [*ROOT.glob("*"), *(path for name in rooms for path in (ROOT / name).rglob("*"))]:
        hidden = any(part.startswith(".") and part != ".ci" for part in path.relative_to(ROOT).parts[:-1])
        if path.is_file() and not hidden and path.suffix not in (".png", ".pyc", ".npz", ".safetensors"):
            yield path


def test_nothing_of_a_private_machine_is_written_down() -> None:
    found = [
        (str(path.relative_to(ROOT)), word)
        for path in written_files()
        for word in FOREIGN
        if word in path.read_text("utf-8", errors="replace")
    ]
    assert found == []
