"""JSON as Armillary writes it: which values may be kept, and how each looks in the file.

NaN and infinity are no JSON numbers. They are written as ``null`` and read back as ``None`` (as NaN where a record
declares a number), so every file opens in any JSON reader. Lone surrogates, which no UTF-8 file can hold, become the
replacement character U+FFFD. Everything else survives exactly: floats by their shortest exact form, text as it is.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any


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
