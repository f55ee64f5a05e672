"""Python modules: one step a statement of the module, an edge from each definition to the statements that use it.

An edge means that a statement names a function, class or variable which another statement of the same module binds.
Used while the module is being executed (decorators, bases, defaults, annotations, class bodies, plain statements), the
definition must stand to the left, or the module could not be imported: those edges are the logical graph. Used inside
a function's body it may stand anywhere; a helper that is defined below its user is what support to the right means
here. Discovery edges are both. Names that an ``import`` binds support nothing: what they mean stands in another file.

[derived] Of several definitions of a name the nearest to the left counts, and only where there is none the first to
the right. Edges are inferred: names are resolved by the rules of scopes (The Python Language Reference, 4.2), without
running anything; ``globals()[...]``, star imports and rebinding from other modules are not seen.
"""

import ast
import re
import warnings
from collections.abc import Sequence

from armillary.methods.ordering.readers.framing import framed
from armillary.methods.ordering.readers.graph import linked
from armillary.methods.ordering.readers.interface import Reader, Record
from armillary.methods.ordering.readers.scopes import Used, bound_names, names_used
from armillary.methods.ordering.steps import Sample

MARKS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
"""One of these at least makes a text a module: any word alone would be a valid one."""

LINE_END = re.compile(r"\r\n?|\n")
"""What Python counts as the end of a line; a form feed, which ``str.splitlines`` takes for one, is white space."""

KINDS: tuple[tuple[tuple[type[ast.stmt], ...], str], ...] = (
    ((ast.FunctionDef, ast.AsyncFunctionDef), "function"),
    ((ast.ClassDef,), "class"),
    ((ast.Import, ast.ImportFrom), "import"),
    ((ast.Assign, ast.AnnAssign, ast.AugAssign), "assignment"),
)


class PythonReader(Reader):
    """Modules, which Python must be able to parse."""

    name = "python-code"
    about = "Python modules: from each definition to the statements that use it, in bodies as well (inferred)"
    endings = (".py",)

    def __call__(self, record: Record) -> Sample | None:
        """One step a statement, its decorators included; its id is its line and, where it has one, its name.

        None for a text that Python can't parse or that has no definition and no import at its outermost level.
        """
        frame = framed(record)
        module = None if frame is None else _parsed(frame.body)
        if frame is None or module is None or not any(isinstance(statement, MARKS) for statement in module.body):
            return None
        body = module.body
        lines = LINE_END.split(frame.body)
        firsts = [min([each.lineno, *(at.lineno for at in getattr(each, "decorator_list", []))]) for each in body]
        texts = ["\n".join(lines[at - 1 : statement.end_lineno]) for at, statement in zip(firsts, body, strict=True)]
        names = [defined or imported for defined, imported in map(bound_names, body)]
        ids = []
        for place, first in enumerate(firsts):
            ids.append(f"{first}:{names[place][0]}" if len(names[place]) == 1 else str(first))
            if ids[-1] in ids[:-1]:  # statements on one line, parted by semicolons
                ids[-1] += f".{place}"
        kinds = [next((kind for types, kind in KINDS if isinstance(each, types)), "statement") for each in body]
        discovery, logical = suppliers(module)
        return linked(texts, discovery, premises=logical, prompt=frame.prompt, key=frame.key, kinds=kinds, ids=ids)


def suppliers(module: ast.Module) -> tuple[list[set[int]], list[set[int]]]:
    """Positions of the statements that each statement uses: at any time, and while the module is executed."""
    body = module.body
    definers: dict[str, list[int]] = {}
    imported = set[str]()
    for place, statement in enumerate(body):
        defined, taken = bound_names(statement)
        imported.update(taken)
        for name in defined:
            definers.setdefault(name, []).append(place)
    annotations = not any(
        isinstance(statement, ast.ImportFrom)
        and statement.module == "__future__"
        and any(alias.name == "annotations" for alias in statement.names)
        for statement in body
    )
    anywhere, at_import = [], []
    for place, statement in enumerate(body):
        whenever, early = set[int](), set[int]()
        for used in names_used(statement, annotations):
            supplier = _nearest(definers.get(used.name, []), place, used, imported)
            if supplier is not None:
                whenever.add(supplier)
                if not used.later:
                    early.add(supplier)
        anywhere.append(whenever)
        at_import.append(early)
    return anywhere, at_import


def _nearest(definers: Sequence[int], place: int, used: Used, imported: set[str]) -> int | None:
    """The definition that supports a use at ``place``: never itself; none where an import gives the name as well and
    no definition stands to the left, nor where a use at import time has none to the left (a builtin is meant)."""
    if place in definers and used.later:
        return None  # a function that calls itself, or a statement that binds what its own functions use
    left = [definer for definer in definers if definer < place]
    if left:
        return left[-1]
    right = [definer for definer in definers if definer > place]
    return right[0] if right and used.later and used.name not in imported else None


def _parsed(text: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in somebody's module is not the user's concern here
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
