"""In which language a short text is written: by its commonest words, by letters that only some have, by its script.

Enough for answers of a sentence or two; of a single word it mostly says nothing.
"""

import re
import unicodedata
from collections import Counter

from armillary.attributes.characters import beyond_ascii

WORDS: dict[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "English": "the of and to a in is it that was for on are as with his they be at this have from or had by but "
        "what some we can out other were all there when your how an each she which do their if will about "
        "up many then them would these so her him has more no my than been who its now did get you i not "
        "could should into here's it's i'm you're that's there's",
        "German": "der die das und ist in den von zu mit sich des auf für nicht ein eine einen einem einer als auch "
        "es an werden aus er hat dass sie nach wird bei um am sind noch wie über so zum war haben nur "
        "oder aber vor zur bis mehr durch man sein wurde sei wenn ich du wir ihr kann können diese dieser "
        "dieses sehr mir dir ihnen schon hier dann was wo kein keine im vom beim gibt viele doch hatte "
        "waren",
        "French": "le la les de des du un une et est en que qui dans pour pas sur au aux avec ce cette ces il elle "
        "ils elles ne se son sa ses plus par je tu nous vous mais ou où comme tout être avoir fait été "
        "sont leur on y si sans peut aussi c'est d'un d'une l'on qu'il mon ma mes votre vos très bien "
        "était quand même deux",
        "Spanish": "el la los las de del un una unos unas y es en que por para con no se lo su sus al como más pero "
        "le ya o este esta esto sí porque cuando muy sin sobre también me hasta hay donde quien desde "
        "todo nos durante ellos son está están ser era tiene puede yo tú te mi qué cómo fue había si cada "
        "dos",
        "Italian": "il lo la i gli le di del della dei delle un uno una e è in che per con non si su al alla come "
        "più ma sono anche questo questa ha da nel nella dal ci se mi ti ho suo sua loro o molto essere "
        "quando dove perché",
        "Portuguese": "o a os as de do da dos das um uma e é em que por para com não se no na nos nas ao como mais "
        "mas foi ele ela são também seu sua ou quando muito já está eu você isso este pelo pela até sem ser "
        "tem à",
        "Dutch": "de het een en van ik te dat die in is niet zijn op aan met voor er maar om hem dan zou of wat "
        "mijn men dit zo door over ze zich bij ook tot je mij uit der daar haar naar heb hoe heeft hebben "
        "deze want nog",
    }.items()
}
"""Commonest words: what most sentences of the language have several of."""

_TOLD_BY = {
    word: tuple(language for language, common in WORDS.items() if word in common)
    for word in frozenset().union(*WORDS.values())
}
"""The languages of which a word is one of the commonest."""

LETTERS = {"German": "äöüß", "French": "çèêëîïœûù", "Spanish": "ñ¿¡", "Portuguese": "ãõ", "Italian": "ìò"}
"""Letters and marks that the others of these languages have not, or hardly."""

SCRIPTS = {
    "CYRILLIC": "Russian or a neighbour", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "CJK": "Chinese",
    "HANGUL": "Korean", "ARABIC": "Arabic", "HEBREW": "Hebrew", "GREEK": "Greek", "DEVANAGARI": "Hindi",
    "THAI": "Thai",
}  # fmt: skip

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)


def language_of(text: str) -> str | None:
    """English, German, French, Spanish, Italian, Portuguese, Dutch or one of another script; None where unclear.

    Code between backticks is passed over. Clear is: at least two words or letters that tell, and more for one
    language than for any other.
    """
    prose = _CODE.sub(" ", text) if "`" in text else text
    ascii_only = prose.isascii()
    if not ascii_only:
        beyond = filter(str.isalpha, beyond_ascii(prose))
        names = (unicodedata.name(sign, "").partition(" ")[0] for sign in beyond)
        other = [SCRIPTS[name] for name in names if name in SCRIPTS]
        if other and len(other) * 2 > sum(map(str.isalpha, prose)):
            most = max(sorted(set(other)), key=other.count)
            return "Japanese" if most == "Chinese" and "Japanese" in other else most
    folded = prose.casefold()
    counts = Counter(_WORD.findall(folded.replace("\u2019", "'")))
    score = dict.fromkeys(WORDS, 0)
    for word in counts.keys() & _TOLD_BY.keys():
        for language in _TOLD_BY[word]:
            score[language] += counts[word]
    marked = [] if ascii_only else [word for word in folded.split() if not word.isascii()]
    for language, signs in LETTERS.items():
        # A word with such a letter tells as much as a common word; one text full of them is no stronger proof.
        score[language] += min(3, sum(any(sign in word for sign in signs) for word in marked))
    ranked = sorted(score, key=lambda language: -score[language])
    first, second = score[ranked[0]], score[ranked[1]]
    return ranked[0] if first >= 2 and first > second else None
