"""Writes src/armillary/data/written/interface_texts.jsonl from the wheel of Home Assistant (Apache-2.0).

    pip download --no-deps --ignore-requires-python --python-version 3.14 --only-binary :all: homeassistant==2026.2.3
    python tools/interface_texts.py homeassistant-2026.2.3-py3-none-any.whl

The package itself needs a newer Python and many others, so the sentences are shipped instead. The same wheel (its
SHA-256 is checked) gives the same bytes. A line of the result is one integration, the document of these texts:

    {"document": "adguard", "en": [..], "fr": [..], "de": [..], "es": [..], "pairs": [["de", English, German], ..]}

A string is left out where it has fewer than four words, a placeholder, markup, a link or a name of the code, where it
is not translated, and where an earlier document has it already. Of an integration with pairs, the language of the
pairs and English have no list of their own: what is a translation pair is no text of a language. A list ends when the
language has ``ENOUGH`` words.
"""

import hashlib
import json
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WRITTEN = Path(__file__).parents[1] / "src" / "armillary" / "data" / "written" / "interface_texts.jsonl"
SHA256 = "8167820cac4b8defe895fd2c36ac23402a445d1fe6028e8cde24caabb935282c"
LANGUAGES = ("fr", "de", "es")
PAIRS = {0: "fr", 1: "de", 2: "de", 3: "es"}
"""Last digit of an integration's hash -> the language of its translation pairs."""

ENOUGH = 52_000
NOT_PROSE = re.compile(r"[{}\[\]<>`|\\*#_%]|https?:|www\.")


def hash_of(text: str) -> int:
    """A number that is the same everywhere."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def strings(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a nested table with its path, on one line."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from strings(value, f"{path}/{key}")
        elif isinstance(value, str):
            yield f"{path}/{key}", " ".join(value.split())


def catalogues(wheel: zipfile.ZipFile) -> dict[str, dict[str, dict[str, str]]]:
    """Integration -> language -> path -> text."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for name in wheel.namelist():
        parts = re.fullmatch(r"homeassistant/components/(\w+)/translations/(en|fr|de|es)\.json", name)
        if parts:
            found.setdefault(parts[1], {})[parts[2]] = dict(strings(json.loads(wheel.read(name))))
    return found


def prose(text: str) -> bool:
    """A sentence rather than a label, and nothing that is not words."""
    return len(text.split()) >= 4 and not NOT_PROSE.search(text)


def lines(found: dict[str, dict[str, dict[str, str]]]) -> Iterator[dict[str, Any]]:
    """The documents in the order of their hashes."""
    seen: set[str] = set()
    words = dict.fromkeys(("en", *LANGUAGES), 0)
    for document in sorted(found, key=hash_of):
        english = found[document].get("en", {})
        target = PAIRS.get(hash_of(document) % 10)
        line: dict[str, Any] = {"document": document, "en": [], **{one: [] for one in LANGUAGES}, "pairs": []}
        for path, source in english.items():
            texts = {one: found[document].get(one, {}).get(path, source) for one in LANGUAGES}
            if not prose(source) or source in seen:
                continue
            seen.add(source)
            if target is None and words["en"] < ENOUGH:
                line["en"].append(source)
                words["en"] += len(source.split())
            for one, text in texts.items():
                if text == source or not prose(text) or text in seen:
                    continue
                seen.add(text)
                if one == target:
                    line["pairs"].append([one, source, text])
                elif words[one] < ENOUGH:
                    line[one].append(text)
                    words[one] += len(text.split())
        if any(line[key] for key in ("en", *LANGUAGES, "pairs")):
            yield line


def main(path: str) -> None:
    """Write the file."""
    if hashlib.sha256(Path(path).read_bytes()).hexdigest() != SHA256:
        sys.exit(f"{path} is not the wheel of Home Assistant 2026.2.3 that these texts are taken from.")
    with zipfile.ZipFile(path) as wheel:
        written = [json.dumps(line, ensure_ascii=False) for line in lines(catalogues(wheel))]
    WRITTEN.write_text("\n".join(written) + "\n", "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
