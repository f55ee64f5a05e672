"""What ``armillary diff`` says of itself, with the rules that decide it, set before the run.

No paper stands behind it: the statements are those of the command's own page.
"""

from armillary.records.claims import Claim, Control, above, at_most

FALSE_ALARMS = "pages of models that compute the same with a line, share"
CHANCE = "smallest corrected p of a page of rounding, the least of all"
BARE_PAGES = "pages of rounding with a line if there were no noise floor, share"
BARE = "comparisons of rounding with p of at most 0.05, no floor and uncorrected, share"
EXCHANGED = "pages of exchanged numbers with a line, share"
EXCHANGED_BARE_PAGES = "pages of exchanged numbers with a line if there were no noise floor, share"
EXCHANGED_BARE = "comparisons of exchanged numbers with p of at most 0.05, no floor and uncorrected, share"
NAMED = "tunes named at full size"
LEARNED = "fall of the loss in tuning, the least of all tunes"
LARGEST_NOISE = "lines about behaviour at the largest noise"

_SEEN = Control(
    what="a page can have lines: that of the largest noise has one or more",
    rule=above(LARGEST_NOISE, 0.5),
    otherwise="control failed",
)

CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="quiet",
        statement="At most 5 % of the pages of two models that compute the same have any line.",
        quantity="Pages of the base beside itself and beside copies with their neurons in another order, each of "
        "these with its own order and draw of prompts, questions and texts, that have a line in the verdict (of a "
        "copy: one about more than its files); exact binomial interval over pages.",
        rule="The interval ends at 0.05 or below. It takes 72 pages without a line; of fewer the verdict is "
        "undecided, unless there are too many lines.",
        decide=at_most(FALSE_ALARMS, 0.05),
        controls=(_SEEN,),
        null="Nothing was changed on these pages: they are the null themselves. How much they could have shown is "
        "told by the same pages without a noise floor.",
        needs=(CHANCE, BARE_PAGES, BARE),
    ),
    Claim(
        id="exchanged",
        statement="At most 5 % of pages have any line where two models differ and what they said is exchanged "
        "between them at random.",
        quantity="Pages of answers and scores of pairs that do differ, each prompt's, question's and text's "
        "exchanged by a coin of its own, that have a line; exact binomial interval over pages.",
        rule="The interval ends at 0.05 or below, the chance that the correction is meant to keep to.",
        decide=at_most(EXCHANGED, 0.05),
        controls=(_SEEN,),
        null="The exchange makes the null: differences as large as those of a real change, with a true mean of 0.",
        needs=(EXCHANGED_BARE_PAGES, EXCHANGED_BARE),
    ),
    Claim(
        id="named",
        statement="The verdict names what a tune gained or lost.",
        quantity="Of five tunes with adapters (a task learned, German lost, arithmetic lost, more refusals, shorter "
        "answers) those with a line about just that; exact binomial interval over tunes.",
        rule="The interval begins above 0.4, which only five of five give.",
        decide=above(NAMED, 0.4),
        controls=(
            Control(
                what="every tune learned its rows: its loss fell",
                rule=above(LEARNED, 0.0),
                otherwise="model too small",
            ),
        ),
        null="The pages without a change, on which the same lines are counted as false alarms.",
        needs=(FALSE_ALARMS,),
    ),
)
