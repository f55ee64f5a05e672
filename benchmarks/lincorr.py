"""LinCorr of city-country for 1,000 subjects against the obvious way: prompt by prompt, then gradient descent.

    python benchmarks/lincorr.py [--model smollm2-135m-instruct] [--quick]

Peer: one ``model(...)`` call a prompt with full logits, as the paper's notebook does, then one linear layer for all
target words fitted by Adam on standardised logits, an epoch at a time, until it correlates as well as our closed form
on the held-out half (within 0.002) or 300 epochs have passed; which of the two is reported. Ours: both prompts of a
subject from one cache, only the words' rows of the head, ridge in closed form with its penalty chosen by generalised
cross-validation. Both read the same subjects and words; the arms take turns in one process.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from measure import Hardware, add_hardware, hardware_of, interleaved, medians, ratio, show_and_save, timed

ALIKE = {"float32": 1e-3, "bfloat16": 0.25}
"""By how much a logit may differ between the arms: with 8 bits, those of 16 to 32 come in steps of 0.125."""

EPOCHS, CLOSE, BATCH, RATE = 300, 0.002, 64, 1e-2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None, help="smollm2-135m-instruct; tiny-llama with --quick")
    parser.add_argument("--quick", action="store_true", help="a tiny model, 300 subjects: shows that it runs")
    add_hardware(parser)
    options = parser.parse_args()
    hardware = hardware_of(options)
    model = options.model or ("tiny-llama" if options.quick else "smollm2-135m-instruct")
    setting = Setting(model, 300 if options.quick else 1000, hardware)
    setting.warm_up()
    runs = interleaved({"peer": setting.peer, "ours": setting.ours}, 2 if options.quick else 3)
    peer, ours = runs["peer"], runs["ours"]
    difference = max(a["difference"] for a in ours)
    if difference > ALIKE[hardware.dtype]:
        sys.exit(f"The arms disagree by {difference:.2g} in a logit.")
    rows: list[dict[str, object]] = [
        {
            "what": what,
            "peer": medians(peer, key),
            "ours": medians(ours, key),
            "ratio": ratio([run[key] for run in peer], [run[key] for run in ours]),
        }
        for what, key in (("collecting logits, s", "collect"), ("fitting, s", "fit"), ("in all, s", "all"))
    ]
    settings: dict[str, object] = {
        "relation": "city-country",
        "subjects": setting.n,
        "source words": len(setting.domains[0].words.ids),
        "target words": len(setting.domains[1].words.ids),
        "correlation, ours": medians(ours, "correlation"),
        "correlation, peer": medians(peer, "correlation"),
        "epochs of the peer": medians(peer, "epochs"),
        "peer reached ours": all(run["reached"] for run in peer),
        "largest difference of a logit": difference,
    }
    name, title = Path(model).name, "LinCorr in closed form against prompts one by one"
    show_and_save("lincorr", title, name, settings, rows, hardware=hardware, quick=options.quick)


class Setting:
    """One model, relation, draw of subjects and split, shared by both arms."""

    def __init__(self, model: str, n: int, hardware: Hardware) -> None:
        from armillary.data import relation
        from armillary.methods.lincorr import PromptDomain, halves, resolve_words, vocabulary_subjects

        self.loaded, self.n = hardware.load(model), n
        chosen = relation("city-country")
        self.domains = [
            PromptDomain(template=template, words=resolve_words(self.loaded, words))
            for template, words in (
                (chosen.source_template, chosen.source_words),
                (chosen.target_template, chosen.target_words),
            )
        ]
        self.subjects = vocabulary_subjects(self.loaded, n, seed=0)
        self.train, self.test = halves(n, seed=0)
        self.collected: list[Any] = []
        self.goal = 1.0

    def warm_up(self) -> None:
        """First calls are slow; this also fingerprints the model and sets the correlation that the peer must reach."""
        self.prompt_by_prompt(self.subjects[:4])
        self.goal = self.ours(0)["correlation"]

    def ours(self, _repeat: int) -> dict[str, float]:
        import torch

        from armillary.methods.lincorr import collect
        from armillary.numerics import RidgePath, pearson_columns

        with timed(self.loaded.device) as reading:
            source, target = collect(self.loaded, self.domains, self.subjects)
        with timed(self.loaded.device) as fitting:
            path, wanted = RidgePath(source.rows(self.train)), target.rows(self.train)
            fit = path.solve(wanted, path.gcv(wanted))
        correlation = pearson_columns(fit.predict(source.rows(self.test)), target.rows(self.test))
        difference = 0.0
        if self.collected:
            tables = (torch.from_numpy(source.values), torch.from_numpy(target.values))
            pairs = zip(tables, self.collected, strict=True)
            difference = max(float((ours - theirs.cpu()).abs().max()) for ours, theirs in pairs)
        parts = self.parts(reading["seconds"], fitting["seconds"])
        return {**parts, "correlation": float(correlation.nanmean()), "difference": difference}

    def peer(self, _repeat: int) -> dict[str, float]:
        with timed(self.loaded.device) as reading:
            self.collected = self.prompt_by_prompt(self.subjects)
        with timed(self.loaded.device) as fitting:
            correlation, epochs, scoring = self.descend(*self.collected)
        parts = self.parts(reading["seconds"], fitting["seconds"] - scoring)
        reached = float(correlation >= self.goal - CLOSE)
        return {**parts, "correlation": correlation, "epochs": epochs, "reached": reached}

    @staticmethod
    def parts(collect: float, fit: float) -> dict[str, float]:
        """Seconds."""
        return {"collect": collect, "fit": fit, "all": collect + fit}

    def prompt_by_prompt(self, subjects: list[str]) -> list[Any]:
        """Logits of each domain, a prompt at a time."""
        import torch

        tables = []
        with torch.inference_mode():
            for domain in self.domains:
                ids, rows = torch.tensor(domain.words.ids, device=self.loaded.device), []
                for subject in subjects:
                    inputs = self.loaded.tokenizer(domain.template.replace("{}", subject), return_tensors="pt")
                    rows.append(self.loaded.model(**inputs.to(self.loaded.device)).logits[0, -1, ids].float())
                tables.append(torch.stack(rows))
        return [table.clone() for table in tables]

    def descend(self, source: Any, target: Any) -> tuple[float, int, float]:
        """(test correlation, epochs, seconds spent on looking at it, which are not counted)."""
        import torch

        from armillary.numerics import pearson_columns

        torch.manual_seed(0)
        x, y = (table[self.train] for table in (source, target))
        mean, spread = x.mean(0), x.std(0)
        x, x_test = (x - mean) / spread, (source[self.test] - mean) / spread
        y = (y - y.mean(0)) / y.std(0)
        layer = torch.nn.Linear(x.shape[1], y.shape[1], device=x.device)
        update = torch.optim.Adam(layer.parameters(), lr=RATE)
        correlation, scoring = 0.0, 0.0
        for epoch in range(1, EPOCHS + 1):
            for rows in torch.randperm(len(x), device=x.device).split(BATCH):
                loss = torch.nn.functional.mse_loss(layer(x[rows]), y[rows])
                update.zero_grad()
                loss.backward()
                update.step()
            with timed(x.device) as looking, torch.no_grad():
                predicted = layer(x_test).cpu()  # not every card has float64
                correlation = float(pearson_columns(predicted, target[self.test].cpu()).nanmean())
            scoring += looking["seconds"]
            if correlation >= self.goal - CLOSE:
                return correlation, epoch, scoring
        return correlation, EPOCHS, scoring


if __name__ == "__main__":
    main()
