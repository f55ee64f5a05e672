"""The run-time checker of the tests: dtypes and shapes of arrays, which no static checker sees.

Everything else is mypy's. Checking it here too would forbid the tests that hand in wrong values on purpose.

jaxtyping's own import hook wraps every function of a package and lets whatever is imported on the way be compiled
anew; half of a short test's time went there. This one touches only what has the shape of an array in its signature.
"""

import ast
import inspect
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, get_args

from beartype import beartype
from jaxtyping import AbstractArray, jaxtyped

Function = TypeVar("Function", bound=Callable[..., Any])
MARK = "_shapes_checked"


def has_shape(annotation: Any) -> bool:
    """True for ``Float[Tensor, "n d"]`` and for anything that holds one."""
    shaped = inspect.isclass(annotation) and issubclass(annotation, AbstractArray)
    return shaped or any(has_shape(part) for part in get_args(annotation))


def checked(function: Function) -> Function:
    """``function`` with its array annotations checked at every call."""
    annotations = getattr(function, "__annotations__", {})
    shaped = {name: annotation for name, annotation in annotations.items() if has_shape(annotation)}
    if not shaped:
        return function
    function.__annotations__ = shaped
    try:
        wrapped = beartype(function)
    finally:
        function.__annotations__ = annotations
    wrapped.__annotations__ = annotations
    return wrapped


def array_types(tree: ast.Module) -> set[str]:
    """The names that a module takes from jaxtyping."""
    taken = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "jaxtyping"]
    return {alias.asname or alias.name for node in taken for alias in node.names}


class _Marker(ast.NodeTransformer):
    """Decorates what has an array type in its signature: functions at the inside, dataclasses at the outside."""

    def __init__(self, types: set[str]) -> None:
        self.types = types

    def _shaped(self, *annotations: ast.expr | None) -> bool:
        nodes = (node for annotation in annotations if annotation for node in ast.walk(annotation))
        return any(isinstance(node, ast.Name) and node.id in self.types for node in nodes)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        given = node.args
        arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
        if self._shaped(node.returns, *(argument.annotation for argument in arguments if argument)):
            node.decorator_list.append(ast.copy_location(ast.Name(MARK, ast.Load()), node))
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        if self._shaped(*(field.annotation for field in node.body if isinstance(field, ast.AnnAssign))):
            node.decorator_list.insert(0, ast.copy_location(ast.Name(MARK, ast.Load()), node))
        return node


class _ShapesCheckedFile(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        tree = ast.parse(self.get_data(self.path), self.path)
        marked = ast.fix_missing_locations(_Marker(array_types(tree)).visit(tree))
        vars(module)[MARK] = jaxtyped(typechecker=checked)
        exec(compile(marked, self.path, "exec", dont_inherit=True), vars(module))


class _ShapesChecked(MetaPathFinder):
    def __init__(self, package: str) -> None:
        self.within = f"{package}."

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(self.within):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        file = Path(spec.origin) if spec and spec.origin else None
        if spec and file and file.suffix == ".py" and b"\nfrom jaxtyping import" in file.read_bytes():
            spec.loader = _ShapesCheckedFile(fullname, str(file))
        return spec


def check_shapes(package: str) -> None:
    """From here on every array annotation of ``package`` is checked; it may not have been imported yet."""
    loaded = [name for name in sys.modules if name.startswith(f"{package}.")]
    if loaded:
        raise RuntimeError(f"the shapes of {package} can't be checked: {loaded[0]} is imported already")
    sys.meta_path.insert(0, _ShapesChecked(package))
