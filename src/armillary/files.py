"""A file is either whole or not there: writing through a temporary file in the same folder; users' files are read."""

import codecs
import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from armillary.errors import StorageError, UsageError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_NO_PERMISSION = {errno.EACCES, errno.EPERM, errno.EROFS}
_SUFFIX = ".armillary-tmp"


def write_atomic(path: Path | str, data: str | bytes) -> None:
    """``path`` holds exactly ``data`` (text as UTF-8), or what it held before; never a part of either.

    The bytes go to a temporary file beside it, are flushed to the disk, and take the name in one step; missing parent
    folders are made. A reader, a second process and a loss of power all see the old file or the new one.

    Raises:
        StorageError: no space, no permission, or another failure of the file system; the temporary file is removed.
    """
    path = Path(path)
    content = data.encode() if isinstance(data, str) else data
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, content)
    except OSError as error:
        raise StorageError(storage_sentence(path, error, len(content))) from error


def remove_stale(folder: Path) -> None:
    """Remove the temporary files that killed writers left in ``folder``. Only for the holder of the folder's lock."""
    for stale in folder.glob(f".*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            stale.unlink()


def storage_sentence(path: Path, error: OSError, size: int = 0) -> str:
    """What went wrong with writing ``size`` bytes to ``path``, in one sentence."""
    if error.errno in _NO_SPACE:
        return f"There is no space left to write {path} ({size / 1e6:.1f} MB); free some, or choose another folder."
    if error.errno in _NO_PERMISSION:
        return f"There is no permission to write {path}; choose a folder you may write to."
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return f"{path} could not be written: a file stands where a folder should."
    return f"{path} could not be written: {error.strerror or error}."


def _write(path: Path, content: bytes) -> None:
    # The name is short whatever the target's is, so that a long but valid name stays valid.
    temporary = path.parent / f".{secrets.token_hex(8)}{_SUFFIX}"
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    # Without this a loss of power may undo the rename; systems that can't open folders (Windows) don't need it.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file, streamed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def no_space(error: BaseException) -> bool:
    """True for a full disk, however the library words it (safetensors gives no errno)."""
    return getattr(error, "errno", None) == errno.ENOSPC or "os error 28" in str(error)


# A folder is either whole or not there: built aside in the same place, flushed to the disk, then renamed.


@contextmanager
def whole_folder(target: Path | str, *, replace: bool = False) -> Iterator[Path]:
    """A new folder to fill; after the block it takes the name ``target`` in one step, on an error it is removed.

    A reader sees all of it or nothing; a killed process leaves only a hidden folder that ``remove_stale_folders``
    clears. With ``replace`` a folder of that name goes just before. Raises StorageError where ``target`` exists and
    should not be replaced, or can't be written.
    """
    target = Path(target)
    if target.exists() and not replace:
        raise StorageError(f"{target} exists already; give the name of a new folder.")
    aside = target.parent / f".{secrets.token_hex(8)}{_SUFFIX}"
    try:
        aside.mkdir(parents=True)
        try:
            yield aside
            for path in [*aside.rglob("*"), aside]:
                _flush(path)
            if target.exists():  # a folder with content can't be renamed over
                shutil.rmtree(target)
            os.rename(aside, target)
            _flush(target.parent)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    except OSError as error:
        raise StorageError(storage_sentence(target, error)) from error
    except Exception as error:
        # safetensors reports a full disk as an error of its own, without an error number.
        if no_space(error):
            raise StorageError(f"There is no space left to write {target}; free some, or choose another.") from error
        raise


def remove_stale_folders(parent: Path) -> None:
    """Remove what killed writers left in ``parent``. Only for the holder of its lock."""
    for stale in parent.glob(f".*{_SUFFIX}"):
        shutil.rmtree(stale, ignore_errors=True)


def _flush(path: Path) -> None:
    with contextlib.suppress(OSError):  # systems that can't open folders (Windows) don't need it
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def digest_of(path: Path | str) -> str:
    """Sixteen hex digits of a file, or of all files below a folder with their names.

    Raises:
        StorageError: one of them can't be read.
    """
    path = Path(path)
    digest = hashlib.sha256()
    try:
        for file in sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else [path]:
            if path.is_dir():
                digest.update(f"{file.relative_to(path)}\n".encode())
            with open(file, "rb") as content:
                hashlib.file_digest(content, lambda: digest)
    except OSError as error:
        raise StorageError(f"{path} could not be read: {error.strerror or error}.") from error
    return digest.hexdigest()[:16]


# What users give: text, lines, JSON and TOML in the dialects of their editors, spreadsheets and shells.

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before that of UTF-16, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_NO_TEXT = {
    b"\x1f\x8b": "compressed (gzip); unpack it first",
    b"BZh": "compressed (bzip2); unpack it first",
    b"\xfd7zXZ": "compressed (xz); unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed (zstd); unpack it first",
    b"PK\x03\x04": "a zip archive or an Excel workbook; unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV",
    b"PAR1": "a Parquet file; write it as CSV",
}


def paragraphs(text: str) -> list[str]:
    """Blocks between blank lines, those without a word left out; line breaks inside stay."""
    return [block.strip("\r\n") for block in re.split(r"\n[^\S\n]*(?=\n)", text) if block.strip()]


def read_text(path: Path | str, *, what: str = "file", errors: Literal["strict", "replace"] = "strict") -> str:
    """The text of a user's file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark; the mark is taken off.

    Line ends stay as they are. ``what`` it is stands in messages; ``errors="replace"`` is for files of which only
    ASCII counts.

    Raises:
        UsageError: there is no such file, it is a folder, or it is no such text; the sentence names the line.
        StorageError: it can't be read.
    """
    try:
        content = Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{path} could not be read: there is no {what} of that name.") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder; give a {what}.") from None
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        raise StorageError(f"{path} could not be read: {getattr(error, 'strerror', None) or error}.") from error
    for beginning, kind in _NO_TEXT.items():
        if content.startswith(beginning):
            raise UsageError(f"{path} is {kind}.")
    mark, encoding = next(((mark, name) for mark, name in _MARKS if content.startswith(mark)), (b"", "utf-8"))
    try:
        text = content[len(mark) :].decode(encoding, errors).lstrip("\ufeff")  # files that were joined bring two
    except UnicodeDecodeError as error:
        line = content[: len(mark) + error.start].count(b"\n") + 1
        raise UsageError(
            f"{path} is not UTF-8: {error.reason} (byte {len(mark) + error.start}, line {line}); save it as UTF-8."
        ) from None
    if errors == "strict" and "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise UsageError(f"{path} is no text: it holds a zero byte in line {line}; save it as UTF-8 text.")
    return text


def numbered_lines(path: Path | str, *, blank: bool = False) -> list[tuple[int, str]]:
    """The lines of a user's file with their numbers; of white space alone only with ``blank``.

    A line ends at a line feed, before which a carriage return is dropped, and at no other sign. Raises as
    ``read_text``; UsageError, too, for the line ends of old Macs.
    """
    text = read_text(path)
    if "\r" in text.rstrip("\r") and "\n" not in text:
        raise UsageError(f"the lines of {path} end with a carriage return alone; save it with line feeds.")
    lines = text.split("\n") if text else []
    if lines and not lines[-1]:
        lines.pop()
    numbered = ((number, line.removesuffix("\r")) for number, line in enumerate(lines, 1))
    return [(number, line) for number, line in numbered if blank or line.strip()]


def text_lines(path: Path | str) -> list[str]:
    """The lines of a user's file that hold more than white space. Raises as ``numbered_lines``; UsageError, too, for
    the endings of files whose lines are no plain texts."""
    if Path(path).suffix.lower() in (".json", ".jsonl", ".csv", ".tsv"):
        raise UsageError(f"{path} would be read as plain texts, one a line; write its texts alone to a .txt file.")
    return [line for _, line in numbered_lines(path)]


def json_rows(path: Path | str, names: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The objects of a file with one JSON object a line, or with one list of them; each with its place in words.

    ``names`` says in messages what an object holds. Raises as ``numbered_lines``; UsageError naming the line for what
    is no JSON, no object, has a name twice, NaN, or text that is no Unicode.
    """
    text = read_text(path)
    items: Any = None
    if text.lstrip().startswith("["):
        with contextlib.suppress(UsageError):  # a list on its first line alone is told of below
            items = _parsed(text, str(path), names)
    if isinstance(items, list):
        rows = [(f"item {number} of {path}", item) for number, item in enumerate(items, 1)]
    else:
        places = ((f"line {number} of {path}", line) for number, line in numbered_lines(path))
        rows = [(where, _parsed(line, where, names)) for where, line in places]
    for where, row in rows:
        if not isinstance(row, dict):
            raise UsageError(f"{where} is of type {type(row).__name__}; give an object with {names}.")
    return rows


def _parsed(text: str, where: str, names: str) -> Any:
    def distinct(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
        row = dict(pairs)
        if len(row) < len(pairs):
            keys = [key for key, _ in pairs]
            raise UsageError(f"{where} has {next(key for key in keys if keys.count(key) > 1)!r} twice.")
        return row

    def refused(word: str) -> Any:
        raise UsageError(f"{where} holds {word}, which is no JSON.")

    try:
        data = json.loads(text, object_pairs_hook=distinct, parse_constant=refused)
        json.dumps(data, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except UsageError:
        raise
    except (ValueError, RecursionError):
        raise UsageError(f"{where} is not JSON; give one object a line with {names}.") from None
    return data


def read_toml(path: Path | str, what: str = "configuration file") -> Mapping[str, Any]:
    """The table in a TOML file of a user's; ``what`` it is stands in messages.

    Raises:
        UsageError: there is no such file, or it is no TOML.
        StorageError: it can't be read.
    """
    try:
        return tomllib.loads(read_text(path, what=what))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"the {what} {path} is not valid TOML: {error}.") from None


def read_object(path: Path) -> Mapping[str, Any]:
    """The JSON object in a file; StorageError where it can't be read or holds something else."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} can't be read: {error}.") from error
    if not isinstance(data, dict):
        raise StorageError(f"{path} holds no JSON object.")
    return data
