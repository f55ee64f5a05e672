"""The verdicts that ``armillary reproduce`` left in a folder of records."""

from pathlib import Path

from armillary.cards import CARDS
from armillary.errors import ArmillaryError
from armillary.runs.record import RunRecord


def measured(method: str, results: Path) -> dict[str, RunRecord]:
    """The records of ``method`` under ``results`` by model name, sorted; other files are passed over.

    Where its card says that other models are judged than the one a record names, by the card's words. Of two records
    of one name the one that began later counts.
    """
    judged_on = next((card.judged_on for card in CARDS if card.name == method), "")
    found: dict[str, RunRecord] = {}
    for path in sorted(results.rglob("*.json")) if results.is_dir() else []:
        try:
            record = RunRecord.load(path)
        except ArmillaryError:
            continue
        if record.kind != "reproduce" or record.config.get("method") != method:
            continue
        model = judged_on or str(record.config.get("model", ""))
        if model not in found or found[model].started < record.started:
            found[model] = record
    return dict(sorted(found.items()))


def verdict_counts(record: RunRecord) -> str:
    """ "5 hold, 1 fails, 2 undecided" """
    counts = {kind: sum(claim.verdict == kind for claim in record.claims) for kind in ("holds", "fails", "undecided")}
    words = {"holds": ("holds", "hold"), "fails": ("fails", "fail"), "undecided": ("undecided", "undecided")}
    return ", ".join(f"{count} {words[kind][count != 1]}" for kind, count in counts.items() if count) or "no claims"
