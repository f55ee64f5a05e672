"""JSON as Armillary writes it: which values may be kept, and how each looks in the file.

NaN and infinity are no JSON numbers. They are written as ``null`` and read back as ``None`` (as NaN where a record
declares a number), so every file opens in any JSON reader. Lone surrogates, which no UTF-8 file can hold, become the
replacement character U+FFFD. Everything else survives exactly: floats by their shortest exact form, text as it is.
"""

import hashlib
import json
import math
import types
from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from armillary.errors import UsageError


def plain(value: Any) -> Any:
    """``value`` as JSON data: dicts, lists, str, int, float, bool, None.

    Tuples become lists, keys become text, dataclasses become dicts, NumPy and torch numbers and arrays become Python
    numbers and nested lists, numbers that are not finite become None. Raises TypeError for anything else.
    """
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return _encodable(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_encodable(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "to_plain"):
        return plain(value.to_plain())
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    raise TypeError(
        f"A {type(value).__name__} can't be kept in a record; convert it to numbers, text, lists or dicts."
    )


def dumps(value: Any, *, indent: int | None = None) -> str:
    """``plain(value)`` as JSON text, keys in the order given."""
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False, indent=indent)


def digest(value: Any) -> str:
    """64 hexadecimal digits that name ``plain(value)``, whatever the order of its keys."""
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return str(text)


# JSON data back into frozen dataclasses, checking every field against its annotation.

Kind = TypeVar("Kind")

_LISTED = 40
"""Accepted names up to this many are listed in a message; more would hide what was wrong."""

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
    if get_origin(kind) is Annotated:
        return _decode(get_args(kind)[0], data, where)
    if hasattr(kind, "from_plain"):
        return kind.from_plain(data, where)
    if is_dataclass(kind):
        return _object(kind, data, where)
    origin = get_origin(kind)
    if origin is Literal:
        if data in get_args(kind):
            return data
        raise _mismatch(where, _in_words(kind), data)
    if origin in (Union, types.UnionType):
        return _union(get_args(kind), data, where)
    if kind is list or origin is list:
        return _list(kind, data, where)
    if origin is tuple:
        return _tuple(kind, data, where)
    if kind is dict or origin in (dict, Mapping):
        return _dict(kind, data, where)
    return _scalar(kind, data, where)


def decode_fields(kind: Any, data: Any, where: str) -> dict[str, Any]:
    """The fields that ``data`` gives for the dataclass ``kind``, checked; others may be missing.

    Raises:
        UsageError: a field is unknown, or of another type.
    """
    if not isinstance(data, Mapping):
        raise _mismatch(where, "an object", data)
    hints = get_type_hints(kind)
    refuse_unknown(data, [field.name for field in fields(kind) if field.init], where)
    return {name: _decode(hints[name], value, f"{where}.{name}") for name, value in data.items()}


def is_required(field: Field[Any]) -> bool:
    """True for a field of a dataclass that has no default."""
    return field.default is MISSING and field.default_factory is MISSING


def _object(kind: Any, data: Any, where: str) -> Any:
    given = decode_fields(kind, data, where)
    if missing := sorted({field.name for field in fields(kind) if field.init and is_required(field)} - set(given)):
        raise UsageError(f"{where} lacks {', '.join(missing)}.")
    return kind(**given)


def refuse_unknown(names: Iterable[str], known: Collection[str], where: str) -> None:
    """UsageError where one of the names is not known, with what may have been meant by the first."""
    unknown = sorted(set(names) - set(known))
    if not unknown:
        return
    near = get_close_matches(unknown[0], known, n=2, cutoff=0.6)
    if near:
        hint = f"; did you mean {' or '.join(near)}?"
    else:
        hint = f"; accepted: {', '.join(known)}." if len(known) <= _LISTED else "."
    raise UsageError(f"{where} has unknown fields: {', '.join(unknown)}{hint}")


def _union(kinds: tuple[Any, ...], data: Any, where: str) -> Any:
    # None first, so that an absent number stays None instead of becoming NaN.
    if data is None and type(None) in kinds:
        return None
    others = [kind for kind in kinds if kind is not type(None)]
    if len(others) == 1:  # its own message says more than one about both
        return _decode(others[0], data, where)
    # The very type next, so that a whole number stays one where any number is allowed.
    for kind in sorted(kinds, key=lambda kind: type(data) is not kind):
        try:
            return _decode(kind, data, where)
        except UsageError:
            continue
    raise _mismatch(where, " or ".join(map(_in_words, kinds)), data)


def _in_words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if (get_origin(kind) or kind) in (list, tuple):
        return "a list"
    return (
        "an object" if (get_origin(kind) or kind) is dict else _WORDS.get(kind, getattr(kind, "__name__", str(kind)))
    )


def _list(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, list):
        raise _mismatch(where, "a list", data)
    (item_kind,) = get_args(kind) or (Any,)
    return [_decode(item_kind, item, f"{where}[{index}]") for index, item in enumerate(data)]


def _tuple(kind: Any, data: Any, where: str) -> tuple[Any, ...]:
    kinds = get_args(kind)
    if not isinstance(data, (list, tuple)):
        raise _mismatch(where, "a list", data)
    if kinds[-1:] == (Ellipsis,):
        kinds = kinds[:1] * len(data)
    if len(kinds) != len(data):
        raise _mismatch(where, f"a list of {len(kinds)}", data)
    pairs = enumerate(zip(kinds, data, strict=True))
    return tuple(_decode(item_kind, item, f"{where}[{index}]") for index, (item_kind, item) in pairs)


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
