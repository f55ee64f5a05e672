"""The packaged cards of the diff's instruments, made from the committed record of their calibration.

``python -m tools.diff_cards`` writes them; a test fails while they are not what the record says.
"""

import sys
from pathlib import Path

from armillary.diff.calibration import NAME, Calibration, CalibrationCard
from armillary.errors import UsageError
from armillary.files import write_atomic
from armillary.records.plain import decode, dumps
from armillary.records.record import RunRecord
from reproductions.diff_calibration.report import CARDS

PACKAGED = Path("src") / "armillary" / "diff" / "packaged" / NAME


def cards(record: RunRecord) -> Calibration:
    """The cards of a record of ``reproduce diff_calibration``. UsageError for a record without any."""
    tables = [table for section in record.sections if section.id == CARDS for table in section.tables]
    if not tables:
        raise UsageError(f"The record {record.title!r} has no cards; make it again.")
    table = tables[0]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    named = [{**row, "named": [name for name in str(row["named"]).split(", ") if name]} for row in rows]
    return Calibration(
        model=str(record.models["model"]["name"]),
        pages=table.note,
        cards=[decode(CalibrationCard, row, "A card") for row in named],
    )


def packaged(root: Path) -> str | None:
    """The file as it should read; None while no record is committed."""
    paths = sorted((root / "results").glob("diff_calibration-*.json"))
    return dumps(cards(RunRecord.load(paths[-1]))) + "\n" if paths else None


def main(root: Path) -> int:
    """Write the file of the checkout ``root``. UsageError where no record is committed."""
    text = packaged(root)
    if text is None:
        raise UsageError("There is no results/diff_calibration-*.json to make cards of.")
    write_atomic(root / PACKAGED, text)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path.cwd()))
