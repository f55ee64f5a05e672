"""What ``armillary diff`` says of itself, with the rules that decide it, set before the run.

No paper stands behind it: the statements are those of the command's own page.
"""

from armillary.records.claims import Claim, Control, above, at_most

FALSE_ALARMS = "false alarms, share of pages"
CHANCE = "least corrected p of a page without change"
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
        quantity="Pages of the base beside itself and beside a copy with its neurons in another order, each with "
        "seeds of its own, that have a line in the verdict (of the copy: one about more than its files); exact "
        "binomial interval over pages.",
        rule="The interval ends at 0.05 or below. It takes 72 pages without a line; of fewer the verdict is "
        "undecided, unless there are too many lines.",
        decide=at_most(FALSE_ALARMS, 0.05),
        controls=(_SEEN,),
        null="Nothing was changed on these pages: they are the null themselves.",
        needs=(CHANCE,),
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
