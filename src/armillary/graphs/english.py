"""English words that names of entities are mistaken for; the rules by which such names are linked rest on these."""

from dataclasses import dataclass


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CALENDAR = _words(
    "april august december february friday january july june march may monday november october saturday september "
    "sunday thursday tuesday wednesday"
)
"""Written with a capital wherever they stand, so that a capital says nothing."""

FUNCTION_WORDS = _words(
    "a about above across after again against all also although am among an and another any are as at away be became "
    "because been before being below between both but by can could did do does down during each either else ever "
    "every few first for from further had has have he hence her here hers him his how however i if in into is it its "
    "just last later least less like many me mine more most much must my near neither never next no nor not now of "
    "off often on once one only onto or other our out over own per perhaps rather said same second several shall she "
    "should since so some still such than that the their them then there therefore these they third this those though "
    "three through thus to today together too two under until up upon us very was we well were what when where "
    "whether which while who whom whose why will with within without would yes yet you your"
)
"""Words of grammar, which no text means as an entity, however a lexicon came by them."""

EVERYDAY = _words(
    "anger bar bath battle bishop bond brook brown bush chance charity church clay cliff cook copper crown dawn deal "
    "dole eve faith ferry field flint ford forest frank frost gap general god golden grace grant gray green hammer "
    "hardy harmony heath hill home hope hunt ivory jade judge key king lance lane limerick long love lucky major male "
    "marina mark marsh mercury mercy mill mint mobile moon moss nice norm north opera orange page park patience pearl "
    "piper pitch plain pole police pope port potter power president prince prudence queen rain ray reading rich river "
    "rock rod rose sale salt sandwich sandy scale sea shell short singer skip sky slope south split spring star stark "
    "state stone storm story summer sun swan swift table temple tiger topic tours town trinity twin union van victory "
    "wade waters web west winter wood young"
)
"""Words that begin sentences in their plain sense and are names, too. Others that are both, as turkey and china, are
left out: a sentence that begins with one of these is mostly about the country."""

PERSONAL = _words(
    "adelaide alexandria alice america aurora austin beverly blair brooklyn cameron carolina chad charlotte "
    "chester cheyenne clinton dakota dallas darwin denver derry devon diego eden elizabeth florence francis georgia "
    "helena houston india ireland israel jackson jordan kenya kimberley kingston lincoln london lourdes lucia madison "
    "martin maurice melbourne milan monroe montana nevada orlando paris philip preston regina roman salvador santiago "
    "savannah siena sofia sydney valencia vernon verona victoria vienna virginia washington wayne wellington"
)
"""Names of places that are given names or surnames, too. Asia is left out: beside another capital (East Asia, Asia
Pacific) it is nearly always the continent."""


@dataclass(frozen=True, kw_only=True)
class NameRules:
    """Words, in lower case, by which ``Lexicon`` decides where a name of one word is linked; those of English unless
    told. A set may be empty, which turns its rule off."""

    calendar: frozenset[str] = CALENDAR
    """Never linked."""

    function_words: frozenset[str] = FUNCTION_WORDS
    """Linked only where all letters are capitals, as US is."""

    everyday: frozenset[str] = EVERYDAY
    """Names such as Nice: linked only inside a sentence, where the capital says that a name is meant."""

    personal: frozenset[str] = PERSONAL
    """Names such as Jordan: not linked where another word with a capital stands beside, as in Michael Jordan, be that
    the first of its sentence; words of grammar don't count (In Jordan)."""


ENGLISH = NameRules()
