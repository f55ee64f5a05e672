"""Which names of a module a statement uses, and when: while the module is executed, or later, in a function's body.

Scopes as in The Python Language Reference, 4.2: a name bound anywhere in a function is the function's own unless
declared global; names bound in a class body are not seen by its methods; a comprehension has a scope of its own, whose
first iterable belongs to the scope around it.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


@dataclass(frozen=True)
class Used:
    """A name of the module as one statement uses it."""

    name: str
    later: bool
    """In the body of a function, which runs when it is called; otherwise while the module is executed."""


def bound_names(statement: ast.stmt) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names that a statement of the module defines when it is executed, and those it imports; each once, in order.

    Those that its functions declare global are not among them: they are bound when the function runs.
    """
    return tuple(dict.fromkeys(_bindings([statement], imports=False))), tuple(dict.fromkeys(_imported(statement)))


def names_used(statement: ast.stmt, annotations: bool = True) -> list[Used]:
    """Every name of the module that the statement reads, each once for both times.

    ``annotations`` says whether they are evaluated: not under ``from __future__ import annotations``.
    """
    walk = _Uses(annotations)
    walk.visit(statement)
    return list(walk.used)


class _Uses(ast.NodeVisitor):
    """Walks a statement with the scopes that are open."""

    def __init__(self, annotations: bool) -> None:
        self.used: dict[Used, None] = {}
        self.annotations = annotations
        self.later = False
        self.hidden: list[set[str]] = []
        """Names of the enclosing functions and comprehensions, which hide those of the module."""
        self.classes: list[set[str]] = []
        """Names bound in the class bodies whose statements are being walked; a function inside sees none of them."""

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load) and not any(node.id in scope for scope in self.hidden):
            self.used[Used(node.id, self.later)] = None

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):  # read as well as written
            self.visit_Name(ast.Name(node.target.id, ast.Load()))
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if self.annotations and not self.later:  # a function's own variables keep theirs unevaluated
            self.visit(node.annotation)
        self._visit_all([node.target, *([node.value] if node.value is not None else [])])

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._visit_all(node.decorator_list)
        self._visit_arguments(node.args)
        if node.returns is not None and self.annotations:
            self.visit(node.returns)
        self._inside(node, node.body)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_arguments(node.args)
        self._inside(node, [node.body])

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_all([*node.decorator_list, *node.bases, *node.keywords])
        # A name bound in a class body is looked up there first and in the module before it is bound: only what the
        # body has bound to the left of its use hides the module's.
        bound = set[str]()
        self.hidden.append(bound)
        for statement in node.body:
            self._in_class(statement, bound)
            bound.update(_bindings([statement]))
        self.hidden.pop()

    def _in_class(self, statement: ast.stmt, bound: set[str]) -> None:
        self.classes.append(bound)
        self.visit(statement)
        self.classes.pop()

    def _visit_comprehension(self, node: Comprehension) -> None:
        first, *others = node.generators
        self.visit(first.iter)
        self.hidden.append({*_targets(generator.target for generator in node.generators)})
        for part in ("elt", "key", "value"):
            if hasattr(node, part):
                self.visit(getattr(node, part))
        for generator in node.generators:
            self._visit_all(generator.ifs)
        for generator in others:
            self.visit(generator.iter)
        self.hidden.pop()

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _visit_comprehension

    def _visit_arguments(self, arguments: ast.arguments) -> None:
        """Defaults and annotations, which are evaluated outside the function."""
        self._visit_all([*arguments.defaults, *(default for default in arguments.kw_defaults if default is not None)])
        if self.annotations:
            self._visit_all([parameter.annotation for parameter in _parameters(arguments) if parameter.annotation])

    def _inside(self, node: FunctionNode, body: Iterable[ast.AST]) -> None:
        nodes = [*body]
        declared = {*_declared_global(nodes)}
        own = {argument.arg for argument in _parameters(node.args)} | {*_bindings(nodes)}
        outside, later = self.hidden, self.later
        # Names of class bodies are not seen from the functions in them; one declared global is the module's.
        self.hidden = [scope - declared for scope in outside if not any(scope is names for names in self.classes)]
        self.hidden.append(own - declared)
        self.later = True
        self._visit_all(nodes)
        self.hidden, self.later = outside, later

    def _visit_all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)


def _parameters(arguments: ast.arguments) -> list[ast.arg]:
    several = [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *several]


def _targets(targets: Iterable[ast.AST]) -> Iterator[str]:
    for target in targets:
        for node in ast.walk(target):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


def _bindings(nodes: Iterable[ast.AST], *, imports: bool = True) -> Iterator[str]:
    """Names bound by these nodes in their own scope: not inside functions and classes; of comprehensions only what
    ``:=`` binds. Those of import statements only where ``imports`` says so."""
    waiting = [*nodes]
    waiting.reverse()
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
            continue
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, Comprehension):
            named = [inner for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr)]
            yield from (inner.target.id for inner in named)
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            yield node.id
        elif isinstance(node, ast.Import | ast.ImportFrom) and imports:
            yield from _imported(node)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield node.name
        elif isinstance(node, ast.MatchMapping) and node.rest:
            yield node.rest
        waiting.extend(reversed([*ast.iter_child_nodes(node)]))


def _imported(statement: ast.AST) -> Iterator[str]:
    """Names that import statements bind, in whatever branch they stand."""
    waiting = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.expr):
            waiting.extend(ast.iter_child_nodes(node))


def _declared_global(nodes: Iterable[ast.AST]) -> Iterator[str]:
    waiting = [*nodes]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Global):
            yield from node.names
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))
