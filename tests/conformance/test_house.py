"""The rules of the house, read from the code by ``tools/house.py``: who imports whom, sizes, names, loads."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools import house

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
PACKAGE, REPRODUCTIONS = SOURCE / "armillary", SOURCE / "reproductions"
MODULES = house.python_files(SOURCE)
ALL_PYTHON = [
    path for room in ("src", "tests", "examples", "benchmarks", "tools") for path in house.python_files(ROOT / room)
]

MAX_FILE, MAX_FUNCTION, MAX_MODULES = 500, 80, 20
"""Lines of a file and of a function, modules of a folder: beyond these a reader loses the thread."""

SHORT = 4
"""A private helper called once with a body below this many lines costs more than it says."""

MAX_PACKAGE, MAX_REPRODUCTIONS = 90_000, 26_500
"""Lines in all; what grows beyond must first make something smaller. The house was rebuilt within 45,000 and 14,000;
the checks that guesses about models, adapters and files are held to since then have room of their own, and
so have the recipe by which a language model learns to see, the diff of two models, the known changes on which
it is calibrated, the eighth method with its catalogue of attributes, and the experiments of the last three on real
models beside their small worlds."""

HEAVY = ("torch", "transformers", "matplotlib", "numpy", "scipy", "sklearn", "altair", "pandas")


def test_layers_import_downwards() -> None:
    assert house.arrows_up(house.import_graph(SOURCE)) == []


def test_nothing_below_imports_the_reproductions() -> None:
    """The command looks them up by name, so that a wheel without them still answers."""
    for path in house.python_files(PACKAGE):
        imported = [node.module for node in ast.walk(house.tree(path)) if isinstance(node, ast.ImportFrom)]
        assert not [module for module in imported if (module or "").startswith("reproductions")], path


ASKS_BY_ITSELF = {
    "armillary/models/prompts.py",  # the one place
    "armillary/methods/modeldiff/reading.py",  # pieces of words, and many texts with nothing around them
    "armillary/methods/ultragen/encoders.py",  # sentence encoders, not language models
    "armillary/methods/ocean/chains/encoder.py",  # a sentence encoder, not a language model
    "reproductions/vector_icl/data/text_encoder.py",  # a sentence encoder, not a language model
}
SPECIAL = {"bos_token", "bos_token_id", "cls_token_id", "sep_token_id", "build_inputs_with_special_tokens"}


def tokenizer_asked(text: str) -> list[int]:
    """Lines that turn a text into tokens by themselves, or look up what precedes one."""
    lines = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and node.attr in SPECIAL:
            lines.append(node.lineno)
        if isinstance(node, ast.Call) and node.args:
            name = ast.unparse(node.func)
            encodes = name.rpartition(".")[0].endswith("tokenizer") and name.endswith(
                (".encode", ".batch_encode_plus")
            )
            if name.rpartition(".")[2].lstrip("_") == "tokenizer" or encodes:
                lines.append(node.lineno)
    return lines


def test_one_place_decides_what_precedes_a_text() -> None:
    assert tokenizer_asked("ids = loaded.tokenizer(text)\nx = tokenizer.bos_token_id\ntokenizer.encode(text)") == [
        1,
        2,
        3,
    ]
    asked = {
        str(path.relative_to(SOURCE)): lines
        for path in MODULES
        if (lines := tokenizer_asked(path.read_text("utf-8"))) and str(path.relative_to(SOURCE)) not in ASKS_BY_ITSELF
    }
    assert asked == {}, "take models.prompts, so that every method reads a text after the same tokens"


def test_no_import_circles() -> None:
    assert house.circles(house.import_graph(SOURCE)) == []


def test_the_import_rules_can_fail() -> None:
    graph = {
        "armillary.runs.run": {"armillary.methods.icn.core", "armillary.records.record"},
        "armillary.methods.icn.core": {"armillary.methods.lincorr.core", "armillary.runs.run"},
        "armillary.methods.lincorr.core": {"reproductions.icn.run"},
        "armillary.records.record": set(),
    }
    assert house.arrows_up(graph) == [
        "armillary.methods.icn.core -> armillary.methods.lincorr.core",
        "armillary.methods.lincorr.core -> reproductions.icn.run",
        "armillary.runs.run -> armillary.methods.icn.core",
    ]
    graph["armillary.methods.lincorr.core"] = set()
    assert house.circles(graph) == [["armillary.methods.icn.core", "armillary.runs.run"]]


def test_every_room_has_a_layer() -> None:
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    layered = {name for layer in house.LAYERS for name in layer}
    assert rooms - {"__init__", "__main__", "py"} <= layered


def test_sizes() -> None:
    assert {str(path): lines for path in ALL_PYTHON if (lines := house.line_count(path)) > MAX_FILE} == {}
    lengths = {f"{path} {name}": lines for path in MODULES for name, lines in house.functions(path)}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION} == {}
    assert house.wide_folders(SOURCE, MAX_MODULES) == {}
    assert sum(map(house.line_count, house.python_files(PACKAGE))) <= MAX_PACKAGE
    assert sum(map(house.line_count, house.python_files(REPRODUCTIONS))) <= MAX_REPRODUCTIONS


def test_modules_that_share_a_first_word_are_a_room() -> None:
    assert house.prefix_groups(SOURCE) == {}


def test_a_helper_called_once_is_worth_its_call() -> None:
    short = {str(path): names for path in MODULES if (names := house.short_helpers_called_once(path, SHORT))}
    assert short == {}


def test_stages_hand_on_typed_results() -> None:
    assert house.loose_results(SOURCE) == []


def test_a_public_class_name_exists_once() -> None:
    assert house.public_classes(PACKAGE) == {}


def test_variables_say_what_they_hold() -> None:
    assert {str(path): names for path in MODULES if (names := house.empty_names(path))} == {}


@pytest.mark.parametrize("name", ["records", "report"])
def test_records_need_no_torch(name: str) -> None:
    for path in house.python_files(PACKAGE / name):
        for node in ast.walk(house.tree(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [module for module in names if module.split(".")[0] in ("torch", "transformers")], path


def test_modules_say_what_they_are() -> None:
    for path in MODULES:
        assert path.stem not in ("utils", "util", "helpers", "common", "misc"), path
        taken = [node for node in ast.walk(house.tree(path)) if isinstance(node, ast.ImportFrom)]
        stars = [node.module for node in taken if node.names[0].name == "*"]
        assert stars == [], path
        assert ast.get_docstring(house.tree(path)) or path.stat().st_size < 10, (
            f"{path}: a module begins with what it holds"
        )
        assert not re.search(r"\b(TODO|FIXME|XXX)\b", path.read_text("utf-8")), path


def loaded_by(code: str) -> set[str]:
    """Heavy libraries that are loaded after ``code`` ran in a fresh interpreter."""
    loaded = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return {name for name in HEAVY if name in loaded.stdout.split()}


def test_importing_armillary_loads_nothing_heavy() -> None:
    assert loaded_by("import torch") >= {"torch"}
    assert loaded_by("import armillary, armillary.cli.main, armillary.cards") == set()


def test_command_files_load_numpy_at_most() -> None:
    modules = ", ".join(house.module_name(path, SOURCE) for path in house.python_files(PACKAGE / "cli"))
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
    import armillary.diff

    for stub in PACKAGE.rglob("__init__.pyi"):
        names = {
            alias.name
            for node in ast.parse(stub.read_text("utf-8")).body
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        }
        files = {other.stem for other in stub.parent.iterdir() if other.stem != "__init__"}
        # ``armillary.diff`` is a package that can be called, so that either meaning of the name is there.
        files -= {"diff"} if stub.parent == PACKAGE and callable(armillary.diff) else set()
        assert not names & files, f"{stub}: rename the files {sorted(names & files)}"


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


def extras() -> dict[str, set[str]]:
    """Extra -> names of its packages."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return {
        extra: {re.split(r"[<>=\[ ]", text)[0] for text in texts}
        for extra, texts in project["optional-dependencies"].items()
    }


def wrong_extras_of(code: str, known: dict[str, set[str]]) -> list[str]:
    """Calls of ``optional`` that name an extra which does not exist or does not bring the package."""
    wrong = []
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call) or len(node.args) < 2:
            continue
        if ast.unparse(node.func) not in ("optional", "optional_version"):
            continue
        module, extra, *package = (arg.value if isinstance(arg, ast.Constant) else None for arg in node.args)
        name = package[0] if package else module and str(module).partition(".")[0]
        if extra not in known or (name and name not in known[str(extra)]):
            wrong.append(ast.unparse(node))
    return wrong


def extras_named(text: str) -> set[str]:
    """Extras that a text speaks of: armillary[name], "extra ``name``", or "extra name" before a mark."""
    listed = {name for names in re.findall(r"armillary\[([a-z, ]+)\]", text) for name in names.split(",")}
    return listed | {"".join(names) for names in re.findall(r"extra (?:``([a-z]+)``|([a-z]+)(?=[.;)]))", text)}


def test_every_extra_that_is_named_brings_what_it_is_named_for() -> None:
    known = extras()
    code = (
        'optional("peft", "frames"), optional("ahocorasick", "graphs"), optional("peft"), optional("ray.data", "ray")'
    )
    assert wrong_extras_of(code, known) == ["optional('peft', 'frames')", "optional('ahocorasick', 'graphs')"]
    named = "pip install 'armillary[a,b]' (extra c). The extra ``d`` is missing; extra e; with extra room"
    assert extras_named(named) == {*"abcde"}
    files = [path for room in ("src", "benchmarks", "examples", "tools") for path in house.python_files(ROOT / room)]
    files += [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "Makefile", ROOT / "pyproject.toml"]
    wrong = {}
    for path in files:
        text = path.read_text("utf-8")
        calls = wrong_extras_of(text, known) if path.suffix == ".py" and "optional" in text else []
        if calls or extras_named(text) - {*known}:
            wrong[str(path)] = [*calls, *(extras_named(text) - {*known})]
    assert wrong == {}


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
    rooms = ("src", "tools", "tests", "docs", "examples", "benchmarks", "results", ".ci")
    for path in [*ROOT.glob("*"), *(path for name in rooms for path in (ROOT / name).rglob("*"))]:
        hidden = any(part.startswith(".") and part != ".ci" for part in path.relative_to(ROOT).parts[:-1])
        if path.is_file() and not hidden and path.suffix not in (".png", ".pyc", ".npz", ".safetensors"):
            yield path


def test_nothing_of_a_private_machine_is_written_down() -> None:
    written = [
        (str(path.relative_to(ROOT)), word)
        for path in written_files()
        for word in FOREIGN
        if word in path.read_text("utf-8", errors="replace")
    ]
    assert written == []


def test_names_of_tests_are_the_same_in_every_process(request: pytest.FixtureRequest) -> None:
    """Workers compare what they collected: what packs a file writes the time into it, so bytes name no test."""
    named = [
        item.nodeid
        for item in request.session.items
        for value in getattr(getattr(item, "callspec", None), "params", {}).values()
        if isinstance(value, bytes) and len(value) > 8 and repr(value)[2:-1] in item.nodeid  # shorter packs nothing
    ]
    assert named == []
