"""JSON data back into frozen dataclasses, checking every field against its annotation."""

import math
import types
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from armillary.errors import UsageError

Kind = TypeVar("Kind")

_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}


def decode(kind: type[Kind], data: Any, where: str) -> Kind:
    """An object of the dataclass ``kind`` from JSON ``data``; ``where`` names the place in messages.

    ``null`` where a plain number is declared reads as NaN: that is how a number that is not finite was written.

    Raises:
        UsageError: a field is missing, unknown, or of another type; the sentence names it.
    """
    return cast(Kind, _decode(kind, data, where))


def _decode(kind: Any, data: Any, where: str) -> Any:
    if kind is Any:
        return data
    if is_dataclass(kind):
        return _object(kind, data, where)
    origin = get_origin(kind)
    if origin is Literal:
        if data in get_args(kind):
            return data
        raise _mismatch(where, f"one of {', '.join(map(str, get_args(kind)))}", data)
    if origin in (Union, types.UnionType):
        return _union(get_args(kind), data, where)
    if kind is list or origin is list:
        return _list(kind, data, where)
    if kind is dict or origin is dict:
        return _dict(kind, data, where)
    return _scalar(kind, data, where)


def _object(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise _mismatch(where, "an object", data)
    hints = get_type_hints(kind)
    named = [field for field in fields(kind) if field.init]
    if unknown := sorted(set(data) - {field.name for field in named}):
        raise UsageError(f"{where} has unknown fields: {', '.join(unknown)}.")
    needed = {field.name for field in named if field.default is MISSING and field.default_factory is MISSING}
    if missing := sorted(needed - set(data)):
        raise UsageError(f"{where} lacks {', '.join(missing)}.")
    return kind(**{name: _decode(hints[name], value, f"{where}.{name}") for name, value in data.items()})


def _union(kinds: tuple[Any, ...], data: Any, where: str) -> Any:
    # None first, so that an absent number stays None instead of becoming NaN.
    if data is None and type(None) in kinds:
        return None
    # The very type next, so that a whole number stays one where any number is allowed.
    for kind in sorted(kinds, key=lambda kind: type(data) is not kind):
        try:
            return _decode(kind, data, where)
        except UsageError:
            continue
    raise _mismatch(where, " or ".join(_WORDS.get(kind, str(kind)) for kind in kinds), data)


def _list(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, list):
        raise _mismatch(where, "a list", data)
    (item_kind,) = get_args(kind) or (Any,)
    return [_decode(item_kind, item, f"{where}[{index}]") for index, item in enumerate(data)]


def _dict(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise _mismatch(where, "an object", data)
    _, value_kind = get_args(kind) or (str, Any)
    return {key: _decode(value_kind, value, f"{where}[{key!r}]") for key, value in data.items()}


def _scalar(kind: Any, data: Any, where: str) -> Any:
    if kind is float and data is None:
        return math.nan
    # bool is a kind of int in Python, but not in a record.
    fits = isinstance(data, kind) or (kind is float and isinstance(data, int))
    if not fits or (isinstance(data, bool) and kind is not bool):
        raise _mismatch(where, _WORDS.get(kind, kind.__name__), data)
    return float(data) if kind is float else data


def _mismatch(where: str, wanted: str, data: Any) -> UsageError:
    shown = repr(data)
    return UsageError(f"{where} must be {wanted}, not {shown if len(shown) <= 60 else shown[:57] + '...'}.")
