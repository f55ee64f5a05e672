"""The claims of ICN (arXiv 2410.02284) with the rules that decide them at laptop scale, written before the runs.

The claims are the paper's; its result tables could not be read, so no figure of its own stands here. Quantities,
thresholds, nulls and controls are ours. Prompts are asked through the model's chat template where it has one; measures
that end in "plain prompt" are of the official plain text, shown beside.
"""

from armillary.records.claims import Claim, Control, above, above_each, below, below_each, beyond

KNOWS = Control(
    what="the model knows the classes: more answers of the plain ranking are right than when each is judged by the "
    "list of another class",
    rule=beyond("ranks/accuracy", "ranks/accuracy, lists of other classes"),
    otherwise="model too small",
)

RIVALS = ("static", "sampling", "list in one answer", "verbalised sampling")
"""What a user would do instead of navigating, each at the same number of answers."""

TAUGHT = ("Adam 3e-5", "Adam 1e-4", "SGD 0.001", "SGD 0.01")
"""Optimisers and rates of the fine-tunes on one token."""

CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="clusters",
        statement="The vocabulary's keys form clusters of tokens that belong together.",
        quantity="Tokens that belong together (letters, digits, months, and the words of each class that are one "
        "token): share of their pairs in one k-means cluster (cosine, about one for every 100 tokens), less that "
        "of as many tokens of like ids; mean over groups and starts, bootstrap over groups.",
        rule="Holds if the interval lies above 0.1, so that they meet in a cluster clearly more often than tokens of "
        "like frequency; fails if it lies at or below 0.1.",
        decide=above("clusters/pairs together minus like ids", 0.1),
        controls=(
            Control(
                what="there are clusters: keys of one are more alike than keys of two by more than when each "
                "coordinate is shuffled over the vocabulary",
                rule=beyond("clusters/within minus between", "clusters/within minus between, shuffled keys"),
            ),
        ),
        null="Ten groups of other tokens for each, drawn from the same ranges of token ids; and the same k-means of "
        "shuffled keys.",
        needs=("clusters/pairs together", "clusters/pairs together, like ids"),
    ),
    Claim(
        id="spread",
        statement="The ranks below the top are filled with tokens from the clusters of the top tokens.",
        quantity="Share of ranks 11 to 100 in a cluster of ranks 1 to 10, over that of a draw matched by token id "
        "(ids follow frequency); ratio of sums over probes, bootstrap over base classes.",
        rule="Holds if the interval lies above 2: twice a matched draw is the least that may be called filled; fails "
        "if it lies at or below 2.",
        decide=above("spread/ratio to frequency-matched", 2),
        controls=(
            Control(
                what="it is the keys that matter: the share is larger than in clusters of shuffled keys",
                rule=beyond("spread/in-cluster share", "spread/in-cluster share, shuffled keys"),
            ),
        ),
        null="The exact mean of all draws of like token ids; beside it the clusters of shuffled keys.",
        needs=("spread/frequency-matched share",),
    ),
    Claim(
        id="top-better-than-middle",
        statement="Answers that begin with the top-ranked tokens are more accurate than those from the middle ranks.",
        quantity="Accuracy of ranks 1 to 10 less that of ranks 11 to 100, paired over probes, bootstrap over base "
        "classes.",
        rule="Holds if the interval lies above 0; fails if it lies at or below 0.",
        decide=above("ranks/top minus middle"),
        controls=(KNOWS,),
        null="0 for ranks that say nothing; the answers judged by the lists of every other class stand beside.",
    ),
    Claim(
        id="spurious-in-cluster",
        statement="In the middle ranks, tokens from the clusters of the top tokens are less accurate than others.",
        quantity="Accuracy in less accuracy out of the clusters within bands of 15 ranks (Mantel-Haenszel, bootstrap "
        "over base classes).",
        rule="Holds if the interval lies below 0; fails if it lies at or above 0.",
        decide=below("in-cluster/accuracy minus out, same ranks"),
        controls=(KNOWS,),
        null="0 where membership is permuted within a band of ranks, exactly; its p stands beside.",
        needs=("in-cluster/permutation p",),
    ),
    Claim(
        id="navigation",
        statement="With explored answers in the context, the query moves away from the explored keys.",
        quantity="Right answers that the model gave are split at random into two lists. Doublings of the rank of an "
        "answer's first token when its own list stands in the context, less those when the other list does: the same "
        "class, as long, and not holding it. Mean over splits, paired over probes, bootstrap over base classes.",
        rule="Holds if the interval lies above 0 (explored answers fall further than unexplored siblings); fails "
        "if it lies at or below 0 (they fall less, or rise: copying).",
        decide=above("lists/own fall minus same-class fall"),
        controls=(
            Control(
                what="the list is read: the class's tokens fall a doubling further under a list of another class than "
                "under one of their own class",
                rule=above("lists/foreign fall minus same-class fall", 1.0),
            ),
        ),
        null="0: which half is listed is drawn, so that without an effect of being listed both fall alike.",
        needs=("lists/own fall", "lists/same-class fall", "lists/own rise", "lists/same-class rise"),
    ),
    Claim(
        id="more-correct-answers",
        statement="At an equal number of answers, navigation finds more different correct ones than other ways.",
        quantity="Different right answers among 20 by navigation (continued from the first prompt, the official way) "
        "less those of the static ranks, of 20 draws (temperature 1, top-k 50), of a list of 20 in one answer, and of "
        "one with probabilities (both drawn likewise, repetition penalty 1.1), all opened alike; paired over probes, "
        "bootstrap over base classes.",
        rule="Holds if the interval lies above 0 against each of the four: a user would take the best of them; fails "
        "if it lies at or below 0 against one.",
        decide=above_each([f"answers/navigation minus {rival}" for rival in RIVALS]),
        controls=(KNOWS,),
        null="0 between ways that find as much; the answers judged by the lists of every other class stand beside.",
        needs=(
            *(f"answers/{arm}" for arm in ("navigation", "navigation from the list", *RIVALS)),
            "answers/static, lists of other classes",
        ),
    ),
    Claim(
        id="diverse-texts",
        statement="Open-ended texts are more diverse with navigation, and no less valid.",
        quantity="Distinct-2 with navigation less that of the static ranks at equal number, paired over instructions.",
        rule="Holds if the interval lies above 0; fails if it lies at or below 0.",
        decide=above("open/distinct-2 minus static"),
        controls=(
            Control(
                what="no less valid: the share of sentences in form is at most 10 points below the static ranks'",
                rule=above("open/valid minus static", -0.1),
            ),
        ),
        null="The same difference with the texts of the two ways dealt out anew, beside the interval.",
        needs=("open/distinct-2 minus static, dealt anew", "open/distinct-2 minus sampling"),
    ),
    Claim(
        id="self-consistency",
        statement="Votes over navigated chains of thought are at least as accurate as over branches of one prompt.",
        quantity="Accuracy of the vote of four paths with navigation less that without, paired over word problems.",
        rule="At least as accurate means no more than 10 points worse: holds if the interval lies above -0.1; fails "
        "if it lies at or below.",
        decide=above("chains/vote minus static", -0.1),
        controls=(
            Control(
                what="the model can do the task: branches of one prompt solve more problems than their votes do when "
                "dealt out to the other problems",
                rule=beyond("chains/vote, static", "chains/vote, static, other problems"),
                otherwise="model too small",
            ),
        ),
        null="Each vote judged by the answers of all other problems.",
    ),
    Claim(
        id="fixed-keys",
        statement="Fine-tuning changes the logits through the query, and the keys far less.",
        quantity="All weights trained on one target token until it is likely; the change of its logit (less the mean "
        "of all) on held-out prompts split exactly into what new keys give to old queries, new queries to old keys, "
        "and both together. Share of the keys, by Adam and by plain gradient descent at two rates each; t interval "
        "over target tokens.",
        rule="Far less: holds if the share of the keys lies below a quarter each way; fails if it lies at or above a "
        "quarter in one way.",
        decide=below_each([f"training/share of the keys, {name}" for name in TAUGHT], 0.25),
        controls=tuple(
            Control(
                what=f"the target was learned: two nats likelier on held-out prompts, {name}",
                rule=above(f"training/rise of the target, {name}", 2.0),
            )
            for name in TAUGHT
        ),
        null="Half, were keys and queries to change the logits alike. The ratio of relative weight changes stands "
        "beside what steps of one size in every weight give, whatever is learned: it judges nothing.",
        needs=(
            *(f"training/share of the keys in all logits, {name}" for name in TAUGHT),
            "training/head over blocks, Adam 3e-5",
            "training/head over blocks, equal steps",
        ),
    ),
    Claim(
        id="near-keys-rise",
        statement="Fine-tuning on one token also lifts the tokens whose keys are near the target's.",
        quantity="Change in log-probability, on held-out prompts, of the 30 tokens nearest to the target's key, less "
        "that of the tokens nearest to the other targets; Adam 3e-5, t interval over target tokens.",
        rule="Holds if the interval lies above 0; fails if it lies at or below 0.",
        decide=above("training/rise of near keys minus those of other targets"),
        controls=(
            Control(
                what="the target was learned: two nats likelier on held-out prompts, Adam 3e-5",
                rule=above("training/rise of the target, Adam 3e-5", 2.0),
            ),
        ),
        null="The neighbours of the other targets after the same training: permuted targets.",
        needs=("training/rise of near keys", "training/rise of those of other targets"),
    ),
)
