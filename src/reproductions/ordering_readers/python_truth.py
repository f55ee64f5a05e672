"""What Python itself looks up where, read from its bytecode: the truth for the reader of modules.

The compiler has resolved every scope: a function reads a name of its module by ``LOAD_GLOBAL``, the module itself and
class bodies by ``LOAD_NAME``, and binds it by ``STORE_NAME``. Nothing here shares code with the reader, which knows
syntax trees alone.
"""

import ast
import dis
import warnings
from bisect import bisect_right
from collections.abc import Iterator
from types import CodeType

from reproductions.ordering_readers.score import Edges

IMPORTS = ("IMPORT_NAME", "IMPORT_FROM")


def true_edges(text: str) -> Edges:
    """Positions of defining and using statements; of several definitions the nearest to the left, else the first.

    Which of several definitions counts, and that imports define nothing, is the reader's convention and is kept;
    everything else is what the interpreter will execute.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = compile(text, "module", "exec", dont_inherit=True)
        body = ast.parse(text).body
    firsts = [min([each.lineno, *(d.lineno for d in getattr(each, "decorator_list", []))]) for each in body]

    def place_of(line: int) -> int:
        return bisect_right(firsts, line) - 1

    definers, imported = dict[str, set[int]](), set[str]()
    for name, line, by_import in _stores(module):
        if by_import:
            imported.add(name)
        else:
            definers.setdefault(name, set()).add(place_of(line))
    edges = set[tuple[int, int]]()
    for name, line, later in _loads(module):
        place = place_of(line)
        places = definers.get(name, set())
        if later and place in places:
            continue
        left = [at for at in places if at < place]
        right = [at for at in places if at > place] if later and name not in imported else []
        if left or right:
            edges.add((max(left) if left else min(right), place))
    return edges


def _stores(module: CodeType) -> Iterator[tuple[str, int, bool]]:
    """Names that the module's own code binds, with their lines and whether an import gives them."""
    attributes = False
    for before, here in _pairs(module):
        if here.opname in ("STORE_NAME", "STORE_GLOBAL") and here.positions and here.positions.lineno:
            # ``import a.b as c`` goes through attributes (3.11) on its way from the import to the name.
            by_import = before in IMPORTS or attributes
            yield str(here.argval), here.positions.lineno, by_import
        attributes = before in IMPORTS and here.opname in ("SWAP", "POP_TOP")


def _pairs(code: CodeType) -> Iterator[tuple[str, dis.Instruction]]:
    before = ""
    for here in dis.get_instructions(code):
        yield before, here
        before = here.opname


def _loads(code: CodeType, in_function: bool = False, is_class: bool = False) -> Iterator[tuple[str, int, bool]]:
    """Names of the module that a code object and those inside it read, with lines, and whether in a function."""
    stored = set[str]()
    for here in dis.get_instructions(code):
        line = here.positions.lineno if here.positions else None
        if is_class and here.argval == "__name__":
            continue  # by which every class body begins, to say its module; no statement says it
        if here.opname == "STORE_NAME" and is_class:
            stored.add(here.argval)
        elif line and (here.opname == "LOAD_GLOBAL" or (here.opname == "LOAD_NAME" and here.argval not in stored)):
            yield str(here.argval), line, in_function
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            # A class body has no fast locals; functions, lambdas and comprehensions have (CO_OPTIMIZED).
            function = bool(inner.co_flags & 1)
            named = inner.co_name in ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")
            yield from _loads(inner, in_function or (function and not named), not function)
