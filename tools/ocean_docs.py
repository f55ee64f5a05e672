"""Tables of OCEAN's page in the docs: ``check`` on real chains against the labels that are committed beside them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from armillary.files import read_object

JUDGED = Path("examples") / "ocean_chains" / "judged.json"
VERDICTS = ("supported", "contradicted", "unknown")
LABELS = ("true", "false", "none")


def ocean_parts(root: Path) -> dict[str, str]:
    """The generated parts of the page that rest on judged.json of the checkout ``root``, by name."""
    judged = read_object(root / JUDGED)
    return {
        "judged verdicts": _crossed("labelled by reading", judged["verdicts"], VERDICTS),
        "judged shares": _shares(judged),
        "judged by rule": _crossed("labelled by reading", judged["rule"], LABELS, "by rule: "),
        "judged wrong": "\n".join(
            f'- {one["verdict"]}, labelled {one["label"]}: "{" ".join(one["text"].split())}"'
            for one in judged["wrong"]
        ),
        "judged missed": _missed(judged["missed"]),
    }


def _crossed(what: str, counts: Mapping[str, Mapping[str, int]], columns: tuple[str, ...], lead: str = "") -> str:
    rows = [[label, *(str(counts[label].get(column, 0)) for column in columns)] for label in LABELS]
    return _table(
        [what, *(f"{lead}{column}" for column in columns), "steps"],
        [[*row, str(sum(counts[row[0]].values()))] for row in rows],
    )


def _shares(judged: Mapping[str, Any]) -> str:
    rows = [
        [what, f"{one['right']} of {one['of']}", f"{_percent(one['share'])} %", one["share"]["how"]]
        for what, one in judged["shares"].items()
    ]
    kappa = judged["kappa"]
    value = f"{kappa['estimate']:.2f} [{kappa['low']:.2f}, {kappa['high']:.2f}]"
    rows.append(["Cohen's kappa of reading and rule", "", value, kappa["how"]])
    return _table(["what", "right", "share with its 95 % interval", "interval"], rows)


def _percent(share: Mapping[str, float]) -> str:
    return f"{100 * share['estimate']:.1f} [{100 * share['low']:.1f}, {100 * share['high']:.1f}]"


def _missed(missed: Mapping[str, Mapping[str, int]]) -> str:
    reasons = dict.fromkeys(reason for own in missed.values() for reason in own)
    labels = ("true", "false")
    return _table(
        ["why unknown", *labels],
        [[reason, *(str(missed[label].get(reason, 0)) for label in labels)] for reason in reasons],
    )


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (columns, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(columns), *lines[1:]])
