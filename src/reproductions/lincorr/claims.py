"""The claims of LinCorr (arXiv 2502.04520) with the rules that decide them at laptop scale, written before the runs.

The claims are the paper's; the quantities, thresholds, controls and nulls are ours, because the paper gives neither
intervals nor a null (its only baselines are chance rates and a shuffled vocabulary mapping).
"""

from armillary.records.claims import Claim, Control, above, above_each, at_most, equal

KNOWS = Control(
    what="the model knows the facts: asked for a city's country and for a country's city it names the right one "
    "among its five likeliest more often than one of exchanged answers",
    rule=above_each(["city-country/knows target, excess hit@5", "city-country/knows source, excess hit@5"]),
    otherwise="model too small",
)
SUMS = Control(
    what="the model can add and subtract one: its likeliest digit is right more often than with exchanged answers",
    rule=above_each(["add1-add2/knows target, excess hit@1", "add1-add2/knows source, excess hit@1"]),
    otherwise="model too small",
)
MAPPED = Control(
    what="there is a map: it predicts countries better than random words under the same prompt",
    rule=above("city-country/excess over random words"),
)
PRECISE = Control(
    what="weights can be right here: those of city-country name right countries more often than exchanged ones",
    rule=above("city-country/influenced hit@5, excess"),
)
HIGH = Control(
    what="X+1 and X+2 correlate by more than 0.7: half of the variance", rule=above("add1-add2/correlation", 0.7)
)
TOOK = Control(what="more than half of the facts that were taught were learned", rule=above("edits/took", 0.5))

CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="fit-exists",
        statement="One linear map, fitted on half of the subjects, predicts the target logits of the other half.",
        paper="City to country on LLaMA-3-8B: mean test Pearson correlation 0.89 (Table 4).",
        quantity="Mean test Pearson of city-country (GCV ridge) less that of the rank-one baseline (the mean source "
        "logit alone), and less that of maps to random words in place of the countries under the same prompt; "
        "paired.",
        rule="Holds if both differences are above 0 with their intervals, fails if one is at or below 0: a map that "
        "one number a prompt, or any words, replace is none of these prompts.",
        decide=above_each(["city-country/correlation minus rank one", "city-country/excess over random words"]),
        controls=(
            Control(
                what="the fit finds a map where two prompts differ in one digit: X+1 to X+2 correlates above 0.5",
                rule=above("add1-add2/correlation", 0.5),
            ),
        ),
        null="100 fits with the pairing of subjects shuffled; random words under the same prompt, drawn by seed.",
        needs=("city-country/correlation", "city-country/permuted"),
    ),
    Claim(
        id="graded",
        statement="Related prompts correlate more than unrelated ones.",
        paper="City-country 0.89 against fruit-color 0.48 and CEO-company 0.55 (Table 4).",
        quantity="Centred correlation (each row's mean over its words removed) of city-country less that of the "
        "favourite-colour control, both with the widest ends over splits of the subjects.",
        rule="Holds if the difference is above 0 with its interval, fails if it is at or below 0.",
        decide=above("city-country minus city-color/centred"),
        controls=(
            Control(
                what="the related pair correlates: above the rank-one baseline",
                rule=above("city-country/correlation minus rank one"),
            ),
        ),
        null="The unrelated pair itself: the same cities to favourite colours.",
        needs=("city-country/centred", "city-color/centred"),
    ),
    Claim(
        id="mirrors-world",
        statement="The weights of the map partly mirror the real relation.",
        paper="City-country, influenced target: hit@1/3/5 .42/.45/.48 (Table 2).",
        quantity="Influenced hit@5 of city-country (ridge, raw weights) less what the same weights hit when the "
        "right countries are exchanged between the cities.",
        rule="Holds if the excess is above 0 with its interval, fails if it is at or below 0. The former bound, "
        "three times the chance of random ranks, took the map's favourite countries for knowledge.",
        decide=above("city-country/influenced hit@5, excess"),
        controls=(KNOWS, MAPPED),
        null="2,000 exchanges of the right answers between the cities: each country stays right for as many.",
        needs=("city-country/influenced hit@5", "city-country/exchanged hit@5"),
    ),
    Claim(
        id="correlation-without-precision",
        statement="A pair can correlate highly while its weights are wrong: X+1 and X+2.",
        paper="X+1 to X+2: correlation 0.93, influenced hit@1 .00 (Tables 2 and 4).",
        quantity="Influenced hit@1 of add1-add2, exact binomial over the nine digits that have a successor.",
        rule="Holds if at most half of the digits have their largest weight on the right digit, with the interval; "
        "fails if more than half have. Of nine digits none right leaves an interval to 0.34, so no bound much "
        "nearer to chance could be met.",
        decide=at_most("add1-add2/influenced hit@1", 0.5),
        controls=(HIGH, PRECISE, SUMS),
        null="The digits' right answers exchanged: shown as exchanged hit@1.",
        needs=("add1-add2/exchanged hit@1", "add1-add2/influenced hit@1, excess"),
    ),
    Claim(
        id="resilient",
        statement="The map fitted before fine-tuning keeps predicting after it.",
        paper="Figures 8, 9, 19 and 21 (drop mostly small, larger in smaller models).",
        quantity="city-country: correlation of the old map on the base less that on a copy really fine-tuned on other "
        "text; t interval over tunes, each with its own texts and test subjects.",
        rule="Survives if the drop is at most 0.15 with its interval, fails if it is above: the paper's drops are "
        "mostly below 0.1, and its small models lose more.",
        decide=at_most("resilience/drop", 0.15),
        controls=(
            Control(
                what="the fine-tune took: the loss on held-out text of its kind fell by more than 0.1 nats a token",
                rule=above("resilience/fall of the loss", 0.1),
            ),
            Control(
                what="there was something to lose: before, the map is more than 0.3 (twice the bound) above the map "
                "of an untrained model of the same shape",
                rule=above("resilience/before minus untrained map", 0.3),
            ),
        ),
        null="The map of an untrained model of the same shape and tokens, drawn by seed, on the tuned model's logits.",
        needs=("resilience/before", "resilience/after", "resilience/untrained map"),
    ),
    Claim(
        id="gradients",
        statement="The correlation of gradients follows the correlation of logits over relations.",
        paper="Table 4: 0.79 against 0.89 for city-country, 0.47 against 0.55 for CEO-company.",
        quantity="Spearman correlation over relations between logit correlation and gradient correlation, its "
        "interval what the central 95 % of exchanges of the relations leave of it.",
        rule="Holds if it is above 0 with that interval, fails if it is at or below 0 (rule ours). Relations that "
        "share a prompt are not independent: the interval is the least there is.",
        decide=above("gradients/rank correlation with logits"),
        controls=(
            Control(
                what="gradients show a map where there must be one: for X+1 and X+2 above shuffled weights",
                rule=above("add1-add2/gradient correlation over shuffled weights"),
            ),
        ),
        null="All relations' gradient correlations exchanged between them.",
    ),
    Claim(
        id="causal-transfer",
        statement="Teaching a source fact moves the target logits along the map.",
        paper="City-country: 53.70 % of updates generalise, chance 0.78 % (Table 5).",
        quantity="Spearman over countries of the measured change after an edit of the city with the change that the "
        "map predicts, less that of each simple forecast: the same countries' change under the city prompt, the "
        "mean change by the other edits, the taught word's row of the map alone. Paired over edits.",
        rule="Holds if the map is above every simple forecast with the interval of the difference, fails if it is "
        "at or below one of them: what a simpler forecast tells as well is no movement along the map. The former "
        "rule, above permuted weights, could not see this.",
        decide=above_each(
            [
                "edits/map minus same tokens",
                "edits/map minus mean of the other edits",
                "edits/map minus taught word's row",
            ]
        ),
        controls=(TOOK, MAPPED),
        null="Weights with rows and columns permuted, 20 draws an edit.",
        needs=(
            "edits/map",
            "edits/same tokens",
            "edits/mean of the other edits",
            "edits/taught word's row",
            "edits/permuted weights",
            "edits/map, shared change taken out",
            "edits/same tokens, shared change taken out",
            "edits/success",
            "edits/success over exchanged",
        ),
    ),
    Claim(
        id="no-transfer-without-precision",
        statement="For a pair with high correlation and low precision the taught fact does not generalise.",
        paper="X+1 to X+2: 0.00 % of updates generalise, chance 9.09 % (Table 5).",
        quantity="Share of edits of X+1 after which more than half of the subjects give the right digit at X+2, "
        "exact binomial.",
        rule="Holds if the share is at most one half with its interval, fails if it is above. There are nine digits "
        "to teach: none of nine leaves an interval to 0.34.",
        decide=at_most("edits add1-add2/carried over", 0.5),
        controls=(
            HIGH,
            Control(
                what="the pair is imprecise: at most half of its largest weights are right",
                rule=at_most("add1-add2/influenced hit@1", 0.5),
            ),
            Control(what="more than half of the digits taught were learned", rule=above("edits add1-add2/took", 0.5)),
            Control(
                what="facts do generalise where weights are right: taught cities give their country more often than "
                "another taught city's",
                rule=above("edits/success over exchanged"),
                otherwise="model too small",
            ),
        ),
        null="The right digits exchanged between the edits.",
        needs=("edits add1-add2/success over exchanged", "edits/success"),
    ),
    Claim(
        id="hallucination",
        statement="Success grows with the weight of the right target; where it is not the top weight, a wrong one "
        "is told.",
        paper="Tables 5 and 6, Figure 5.",
        quantity="Slope of a logistic regression of success on the standardised weight of the right target, "
        "bootstrap over edits.",
        rule="Holds if the interval of the slope is above 0, fails if it is at or below 0.",
        decide=above("edits/logistic slope"),
        controls=(
            TOOK,
            KNOWS,
            Control(
                what="facts carry over in some edits and not in others: the rarer outcome in more than 5 % of them",
                rule=above("edits/rarer outcome", 0.05),
                otherwise="model too small",
            ),
        ),
        null="The same slope with the outcomes exchanged between the edits, 500 draws.",
        needs=("edits/logistic slope, outcomes exchanged",),
    ),
    Claim(
        id="vocabulary",
        statement="One feed-forward block over vocabulary embeddings composes the true mapping, not a shuffled one.",
        paper="True mapping 97.66 %, shuffled 22.66 % (Table 7).",
        quantity="Held-out accuracy of the true less that of a shuffled mapping with pretrained embeddings, less "
        "the same with random embeddings; paired by seed.",
        rule="Holds if 15 points or more (a fifth of the paper's 75) with the interval, fails if below.",
        decide=above("vocabulary/true minus shuffled, over random embeddings", 0.15),
        controls=(
            Control(
                what="the block learned what it was taught: more than 90 % of the training texts, in the worse arm",
                rule=above("vocabulary/taught", 0.9),
            ),
        ),
        null="Random embeddings of the same spread, drawn by seed; chance is one in three.",
        needs=("vocabulary/true, pretrained", "vocabulary/shuffled, pretrained"),
    ),
    Claim(
        id="scaling",
        statement="The precision of the map grows with the size of the model.",
        paper="Figure 4, LLaMA family.",
        quantity="Excess hit@5 of two models of one family; the models within reach are of different families, and "
        "a model with layers taken out is no smaller model.",
        rule="Holds if the larger model's excess is above the smaller's with the interval of the difference, fails "
        "if it is at or below. Needs two sizes of one family.",
        decide=above("scaling/larger minus smaller, excess hit@5"),
        controls=(
            Control(
                what="both models know the facts more often than exchanged ones",
                rule=above_each(["scaling/larger knows, excess hit@5", "scaling/smaller knows, excess hit@5"]),
                otherwise="model too small",
            ),
        ),
        null="Right answers exchanged between the cities, in each model.",
    ),
    Claim(
        id="completeness",
        statement="Whole words have higher precision than first words of a phrase, at equal correlation.",
        paper="hit@5 .49 for whole words, .10 for first words of a phrase (Table 18).",
        quantity="Influenced hit@5, less that with answers exchanged, of cities that are one token minus that of "
        "cities known by the first word of their name, equally many of each; bootstrap over cities.",
        rule="Holds if the difference is above 0 with its interval, fails if it is at or below 0 (rule ours).",
        decide=above("completeness/whole minus first word, excess hit@5"),
        controls=(
            Control(
                what="the correlation is equal, within 0.05",
                rule=equal("completeness/whole minus first word, correlation", 0.05),
            ),
            Control(
                what="whole words name right countries more often than exchanged ones",
                rule=above("completeness/whole, excess hit@5"),
                otherwise="model too small",
            ),
        ),
        null="Right answers exchanged between the words of a kind.",
        needs=("completeness/first-word, excess hit@5",),
    ),
)
