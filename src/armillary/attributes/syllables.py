"""Syllables of an English word, by its vowels."""

import re
from functools import lru_cache

_VOWELS = re.compile("[aeiouyàâäéèêëîïôöùûü]+")
_SILENT = re.compile("(?:[^aeiouyl]|[aeiouy]l)(?:e|es)$")
_VOICED = re.compile("(?:[^aeiouy]ted|[^aeiouy]ded|[td]ed)$")


# Of a corpus's words most occur again: as many are kept as a large vocabulary has.
@lru_cache(maxsize=65_536)
def syllables_of(word: str) -> int:
    """Groups of vowels of the folded word, without the silent e of "made", with that of "table"; at least 1."""
    groups = len(_VOWELS.findall(word))
    if (_SILENT.search(word) or word.endswith("ed")) and not _VOICED.search(word) and groups > 1:
        groups -= 1
    return max(1, groups)
