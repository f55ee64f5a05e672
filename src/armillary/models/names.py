"""The names that need no path, and which of them somebody may have meant."""

import difflib

from armillary.models.packaged import PACKAGED
from armillary.models.tiny import KINDS


def near(text: str) -> str:
    """The end of a sentence about an unknown name: the known names that are near it, or what is accepted."""
    packaged = [entry.name for entry in PACKAGED]
    known = [*packaged, *(f"tiny-{kind}" for kind in KINDS)]
    last = text.rstrip("/").rpartition("/")[2].lower()
    close = difflib.get_close_matches(last, known, n=2, cutoff=0.5)
    close = close or [name for name in known if len(last) > 2 and last in name][:2]
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; give a packaged name ({', '.join(packaged)}), a folder, a .gguf file or a hub id (owner/name)."
