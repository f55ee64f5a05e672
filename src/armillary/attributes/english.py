"""Words of English by what they do: those that only join others, pronouns by person, and common content words."""

_FUNCTION = """
a about above across after afterwards again against all almost along already also although always am among an and
another any anybody anyone anything anywhere are aren't around as at away be became because become becomes been before
behind being below beneath beside besides between beyond both but by can can't cannot could couldn't despite did didn't
do does doesn't doing don't done down during each either else enough even ever every everybody everyone everything
everywhere except few for from further had hadn't has hasn't have haven't having he he'd he'll he's hence her here
here's hers herself him himself his how how's however i i'd i'll i'm i've if in indeed inside instead into is isn't it
it's its itself just least less let let's like many may maybe me might mine more moreover most much must mustn't my
myself near neither never nevertheless next no nobody none nor not nothing now nowhere of off often on once one only
onto or other others otherwise ought our ours ourselves out outside over own per perhaps quite rather really same shall
she she'd she'll she's should shouldn't since so some somebody someone something sometimes somewhere still such than
that that's the their theirs them themselves then there there's therefore these they they'd they'll they're they've
this those though through throughout thus till to together too toward towards under unless unlike until up upon us very
via was wasn't we we'd we'll we're we've well were weren't what what's whatever when whenever where whereas wherever
whether which whichever while who who's whoever whole whom whose why will with within without won't would wouldn't yes
yet you you'd you'll you're you've your yours yourself yourselves
"""
FUNCTION_WORDS = frozenset(_FUNCTION.split())
"""Words that carry no topic: articles, pronouns, prepositions, conjunctions, auxiliaries and the like."""

_PERSONS = {
    "first": "i i'd i'll i'm i've me my mine myself we we'd we'll we're we've us our ours ourselves let's",
    "second": "you you'd you'll you're you've your yours yourself yourselves",
    "third": "he he'd he'll he's him his himself she she'd she'll she's her hers herself they they'd they'll they're "
    "they've them their theirs themselves",
}
PRONOUNS = {person: frozenset(words.split()) for person, words in _PERSONS.items()}
"""Pronouns of each person; "it" is left out of the third, since it mostly stands for no one."""

_FREQUENT = """
time people year way day thing world life part place case week company system program question work government number
night point home water room area money story fact month study book job word business issue side kind head house service
friend power hour game line end member law car city community name president team minute idea body information back
parent face level office door health person art war history party result change morning reason research girl guy moment
air teacher force education food product market data process example model value method design computer software user
file code language network project group problem family school country state student simple good new first last long
great little old right big high different small large important public early young possible free clear strong special
use find give tell ask work seem feel try leave call keep begin show hear play run move live believe hold bring happen
write provide sit stand lose pay meet include continue learn lead understand watch follow stop create speak read allow
add spend grow open walk win offer remember love consider appear buy wait serve send build stay fall reach remain
suggest raise pass sell require report decide pull
"""
FREQUENT_WORDS = tuple(dict.fromkeys(_FREQUENT.split()))
"""Common content words, of which most texts lack many: what to exclude where no corpus is given."""
