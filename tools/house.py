"""The shape of the code, measured from the code: ``python tools/house.py [CHECKOUT]`` prints it as a table.

Files, lines, functions, imports, helpers called once, import circles, arrows up the layers and repeated lines, for the
package, the reproductions and the tests. The conformance tests ask the same functions, so that a rule and the figure
shown for it can't drift apart. Only the standard library is needed, so that any earlier commit can be measured too.
"""

import ast
import statistics
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import combinations
from pathlib import Path

LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "progress", "cards", "files", "extras"),
    ("numerics", "fetch"),
    ("records", "models"),
    ("report", "scoring", "activations", "data", "attributes", "graphs"),
    ("runs", "training", "chat"),
    ("methods",),
    ("checkup", "diff", "finetuning"),
    ("cli",),
)
"""Rooms of the package, lowest first: a room imports rooms of lower layers only; leaves may import each other."""

RUN = 6
"""Lines that two places share before they count as alike: shorter runs are mostly signatures and closing brackets."""


def python_files(folder: Path) -> list[Path]:
    """Every Python file below ``folder``, in order; none where the folder is missing."""
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


@cache
def tree(path: Path) -> ast.Module:
    """The file, parsed once."""
    return ast.parse(path.read_text("utf-8"))


def line_count(path: Path) -> int:
    """Lines of the file, blank ones included."""
    return path.read_text("utf-8").count("\n")


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Every function and method of the file with its lines, decorators left out."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            yield node.name, node.end_lineno - node.lineno + 1


def import_lines(path: Path) -> int:
    """Lines of the file that import statements take."""
    nodes = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Import | ast.ImportFrom)]
    return sum((node.end_lineno or node.lineno) - node.lineno + 1 for node in nodes)


def module_name(path: Path, source: Path) -> str:
    """``armillary.numerics.intervals`` of the file below ``source`` (the folder ``src``)."""
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path: Path, source: Path, modules: frozenset[str], *, typing_too: bool = True) -> set[str]:
    """Modules of ours that the file imports, at its top or inside a function.

    ``from package import name`` counts as the submodule ``name`` where there is one. ``typing_too=False`` leaves out
    what only a type checker reads (under ``if TYPE_CHECKING``).
    """
    own = module_name(path, source)
    package = own if path.name == "__init__.py" else own.rpartition(".")[0]
    skipped: set[int] = set()
    if not typing_too:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
                skipped |= {id(child) for child in ast.walk(node)}
    imported: set[str] = set()
    for node in ast.walk(tree(path)):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names} & modules
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                imported |= {full if full in modules else base} & modules
    return imported - {own}


def import_graph(source: Path, *, typing_too: bool = True) -> dict[str, set[str]]:
    """Every module below ``source`` with the modules of ours that it imports."""
    paths = python_files(source)
    modules = frozenset(module_name(path, source) for path in paths)
    return {
        module_name(path, source): imported_modules(path, source, modules, typing_too=typing_too) for path in paths
    }


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or around (strongly connected components above one)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in sorted(graph[module]):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            group = [stack.pop()]
            while group[-1] != module:
                group.append(stack.pop())
            if len(group) > 1:
                groups.append(sorted(group))

    sys.setrecursionlimit(max(10_000, sys.getrecursionlimit()))
    for module in sorted(graph):
        if module not in index:
            visit(module)
    return groups


def room(module: str) -> str:
    """``numerics`` of ``armillary.numerics.intervals``; ``armillary`` of the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def arrows_up(graph: dict[str, set[str]]) -> list[str]:
    """Imports against the layers: "armillary.runs.folder -> armillary.methods.icn" and the like.

    A method never imports another; nothing in the package imports the reproductions.
    """
    level = {name: height for height, names in enumerate(LAYERS) for name in names}
    wrong = []
    for module, imported in sorted(graph.items()):
        own = room(module)
        if not module.startswith("armillary.") or own not in level:
            continue
        for other in sorted(imported):
            target = room(other)
            if other.startswith("armillary.methods.") and own == target == "methods":
                bad = module.split(".")[2] != other.split(".")[2]
            elif not other.startswith("armillary"):
                bad = True
            elif target in level and target != own:
                bad = level[target] >= level[own] and level[own] > 0
            else:
                bad = False
            if bad:
                wrong.append(f"{module} -> {other}")
    return wrong


def helpers_called_once(path: Path) -> list[str]:
    """Private functions at the top of the file whose name is read exactly once there."""
    names = {
        node.name
        for node in tree(path).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("_") and not node.name.startswith("__")
    }
    uses = Counter(
        node.id for node in ast.walk(tree(path)) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    )
    return sorted(name for name in names if uses[name] == 1)


def short_helpers_called_once(path: Path, least: int) -> list[str]:
    """Those of ``helpers_called_once`` whose body (docstring left out) has fewer than ``least`` lines and that are
    called where they are used: a helper that is handed on as a value must have a name, and so must one that is
    decorated (a cache)."""
    once = set(helpers_called_once(path))
    called = {
        node.func.id for node in ast.walk(tree(path)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    short = []
    for node in tree(path).body:
        if isinstance(node, ast.FunctionDef) and node.name in once & called and node.end_lineno is not None:
            if node.decorator_list:
                continue
            body = node.body[1:] if ast.get_docstring(node) else node.body
            if body and node.end_lineno - body[0].lineno + 1 < least:
                short.append(node.name)
    return short


def like_pairs(paths: Iterable[Path]) -> list[tuple[Path, Path]]:
    """Pairs of files that share a run of ``RUN`` lines; imports, blank lines, comments, lone brackets not counted."""
    places: defaultdict[tuple[str, ...], set[Path]] = defaultdict(set)
    for path in paths:
        lines = [
            line
            for raw in path.read_text("utf-8").splitlines()
            if (line := raw.strip())
            and not line.startswith(("#", "import ", "from ", '"""'))
            and line.strip("()[]{},:")
        ]
        for start in range(len(lines) - RUN + 1):
            places[tuple(lines[start : start + RUN])].add(path)
    pairs = {pair for files in places.values() for pair in combinations(sorted(files), 2)}
    return sorted(pairs)


EMPTY_NAMES = ("found", "told", "asked", "lesson", "sight", "lot", "course", "ground", "lab", "said")
"""Names of variables that do not say what they hold."""


def empty_names(path: Path) -> list[str]:
    """Variables, parameters and fields of the file that bear one of ``EMPTY_NAMES``, once for each place."""
    names = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append(node.id)
        elif isinstance(node, ast.arg):
            names.append(node.arg)
    return sorted(name for name in names if name in EMPTY_NAMES)


def comment_lines(path: Path) -> int:
    """Lines that hold a comment, for the share that is shown."""
    with open(path, "rb") as file:
        return sum(token.type == tokenize.COMMENT for token in tokenize.tokenize(file.readline))


def wide_folders(folder: Path, most: int) -> dict[str, int]:
    """Folders with more than ``most`` modules, and how many."""
    counts = Counter(path.parent for path in python_files(folder) if path.name != "__init__.py")
    return {str(parent.relative_to(folder)): count for parent, count in sorted(counts.items()) if count > most}


def prefix_groups(folder: Path, least: int = 3) -> dict[str, list[str]]:
    """Modules of one folder that share a first word, where they are ``least`` or more: they want to be a room."""
    groups: defaultdict[tuple[Path, str], list[str]] = defaultdict(list)
    for path in python_files(folder):
        if path.name != "__init__.py":
            groups[path.parent, path.stem.split("_")[0]].append(path.stem)
    return {
        f"{parent.relative_to(folder)}/{word}_*": sorted(stems)
        for (parent, word), stems in sorted(groups.items())
        if len(stems) >= least
    }


def public_classes(folder: Path) -> dict[str, list[str]]:
    """Public class names that are defined in more than one file."""
    homes: defaultdict[str, list[str]] = defaultdict(list)
    for path in python_files(folder):
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(str(path.relative_to(folder)))
    return {name: files for name, files in sorted(homes.items()) if len(files) > 1}


def loose_results(
    folder: Path, spared: tuple[str, ...] = ("to_dict", "facts", "config", "state", "state_dict")
) -> list[str]:
    """Functions that say they return ``dict[str, Any]``, but for those that serialise and all in ``records``."""
    loose = []
    for path in python_files(folder):
        if path.parent.name == "records":
            continue
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.returns is None:
                continue
            if ast.unparse(node.returns).strip("'\"") == "dict[str, Any]" and node.name not in spared:
                loose.append(f"{path.relative_to(folder)} {node.name}")
    return loose


def measures(paths: list[Path]) -> dict[str, str]:
    """What is shown of a group of files."""
    if not paths:
        return {}
    lines = {path: line_count(path) for path in paths}
    longest = max(paths, key=lambda path: lines[path])
    every = [(length, name, path) for path in paths for name, length in functions(path)]
    widest = max(every, default=(0, "none", longest))
    total = sum(lines.values())
    return {
        "files": f"{len(paths)}",
        "lines": f"{total:,}",
        "lines of a file, median": f"{statistics.median(lines.values()):.0f}",
        "longest file": f"{lines[longest]} ({longest.name})",
        "lines of a function, median": f"{statistics.median([length for length, _, _ in every] or [0]):.0f}",
        "longest function": f"{widest[0]} ({widest[1]})",
        "lines that import": f"{sum(map(import_lines, paths)) / total:.1%}",
        "lines with a comment": f"{sum(map(comment_lines, paths)) / total:.1%}",
        "private helpers called once": f"{sum(len(helpers_called_once(path)) for path in paths)}",
        "variables named for nothing (found, told, ...)": f"{sum(len(empty_names(path)) for path in paths)}",
        "pairs of files that share six lines": f"{len(like_pairs(paths))}",
    }


def main(arguments: list[str]) -> int:
    """Print the table of a checkout (by default this one)."""
    root = Path(arguments[0]) if arguments else Path(__file__).parents[1]
    source = root / "src"
    groups = {
        "package": python_files(source / "armillary"),
        "reproductions": python_files(source / "reproductions"),
        "tests": python_files(root / "tests"),
    }
    columns = {name: measures(paths) for name, paths in groups.items() if paths}
    columns = {
        name: {key: value for key, value in column.items() if "dict[str" not in key}
        for name, column in columns.items()
    }
    print(f"| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for key in next(iter(columns.values())):
        print(f"| {key} | {' | '.join(column[key] for column in columns.values())} |")
    graph = import_graph(source)
    package = source / "armillary"
    print(f"\nimport circles: {len(circles(graph))} ({sum(map(len, circles(graph)))} modules)")
    print(f"arrows up the layers: {len(arrows_up(graph))}")
    print(f"folders of more than 20 modules: {wide_folders(source, 20) or 'none'}")
    print(
        f"modules of a folder that share a first word, three or more: {sum(map(len, prefix_groups(source).values()))}"
    )
    print(f"public class names that exist twice: {len(public_classes(package))}")
    print(f"functions that return dict[str, Any]: {len(loose_results(source))}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
