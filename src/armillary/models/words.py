"""The few hundred words that the tiny models' tokenizer knows as single tokens, each with its leading space."""

CITIES = """Paris London Berlin Madrid Rome Vienna Athens Lisbon Dublin Oslo Stockholm Helsinki Copenhagen
Warsaw Prague Budapest Moscow Kiev Tokyo Osaka Kyoto Beijing Shanghai Seoul Delhi Mumbai Bangkok
Hanoi Manila Jakarta Singapore Tehran Baghdad Istanbul Ankara Cairo Lagos Nairobi Casablanca Tunis
Algiers Chicago Boston Houston Dallas Seattle Toronto Montreal Vancouver Havana Lima Bogota Santiago
Caracas Quito Sydney Melbourne Auckland Munich Hamburg Milan Naples Barcelona Brussels Amsterdam
Zurich Geneva Lyon Karachi Lahore Dhaka Kabul Damascus Beirut Jerusalem Dubai Riyadh"""

COUNTRIES = """France England Germany Spain Italy Austria Greece Portugal Ireland Norway Sweden Finland Denmark
Poland Hungary Russia Ukraine Japan China Korea India Thailand Vietnam Philippines Indonesia
Malaysia Iran Iraq Turkey Egypt Nigeria Kenya Morocco Tunisia Algeria Canada Mexico Cuba Peru
Colombia Chile Venezuela Ecuador Brazil Argentina Bolivia Australia Netherlands Belgium Switzerland
Pakistan Bangladesh Afghanistan Syria Lebanon Israel Jordan Qatar Ghana Ethiopia Tanzania Uganda
Romania Bulgaria Croatia Serbia Iceland Nepal Mongolia America"""

CONTINENTS = "Africa Asia Europe America Oceania Antarctica North South"

LANGUAGES = """English French German Spanish Italian Portuguese Russian Greek Dutch Swedish Norwegian Danish
Finnish Polish Hungarian Ukrainian Japanese Chinese Korean Hindi Thai Vietnamese Indonesian Malay
Persian Turkish Arabic Hebrew Urdu Bengali Swahili Romanian Bulgarian Croatian Serbian Icelandic"""

CURRENCIES = """euro pound dollar yen yuan won rupee ruble franc krone krona peso real lira dinar dirham rial riyal
baht dong ringgit rupiah shekel shilling naira zloty forint leu lev hryvnia rand"""

COLOURS = "red blue green yellow black white orange purple pink brown gray grey gold silver violet crimson beige cyan"

THINGS = """apple banana cherry lemon grape plum pear peach orange strawberry coal snow grass sky blood gold sun
moon sea fire ice tree rose dog cat horse lion tiger bear wolf mouse elephant bird fish frog snake
bee cow sheep duck sweet sour bitter salty hot cold big small long short old new good bad fast slow
heavy light rich poor happy sad"""

PLAIN = """the a an of in is are was were be to and or not that this it he she they we you I his her their my
your lives live city country continent capital language currency colour color speaks speak uses use
works work born comes from at on by with for as but if then than who which what where when how there
here one two three four five six seven eight nine ten first last year day time man woman people
child friend house home school book word name number world water food money music game river
mountain road king queen doctor teacher made makes make said says say went goes go came come sees
see saw gave give took take likes like wants want knows know thinks think has have had will would
can could may between after before under over near very more most some any all many few other same
next called pays plus minus equals company product job tastes taste feels sounds looks person place
thing animal fruit gem"""

DIGITS = "0 1 2 3 4 5 6 7 8 9"

ALL: tuple[str, ...] = tuple(
    dict.fromkeys(
        " ".join((CITIES, COUNTRIES, CONTINENTS, LANGUAGES, CURRENCIES, COLOURS, THINGS, PLAIN, DIGITS)).split()
    )
)
