"""What a run leaves: settings, models, measures with intervals, findings, sections and judged claims, in one file."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from armillary.errors import StorageError, UsageError
from armillary.files import write_atomic
from armillary.numerics.intervals import Interval
from armillary.records.claims import ClaimResult
from armillary.records.plain import decode, dumps, plain
from armillary.records.sections import Finding, Section

SCHEMA = 1
FILE_NAME = "record.json"


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One finished run. Plain data: it can be read, compared and drawn again without a model and without torch."""

    kind: str
    """Which job made it: "checkup", "lincorr", "reproduce"."""

    title: str
    config: dict[str, Any]
    """Every setting of the run, enough to replay it."""

    models: dict[str, dict[str, Any]]
    """Facts of each model by its role ("model", "before"); each has an ``identity``, which names its tensors,
    configuration and tokenizer, and a ``fingerprint`` of its tensors alone (all that older records have)."""

    seed: int
    measures: dict[str, Interval] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    claims: list[ClaimResult] = field(default_factory=list)
    data: list[dict[str, Any]] = field(default_factory=list)
    """Sources of the data, each with its licence."""

    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    started: str
    """When this session of the run began, ISO 8601 in UTC."""

    seconds: float
    """How long this session took; the time before a kill and a resume is not counted."""

    schema: int = SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; numbers that are not finite are None."""
        data: dict[str, Any] = plain(self)
        return {"schema": data.pop("schema"), **data}

    @classmethod
    def from_dict(cls, data: Any) -> "RunRecord":
        """Inverse of ``to_dict``; a null where a number belongs reads as NaN.

        Raises:
            UsageError: not a record, made by a newer Armillary, or damaged; the sentence names the field.
        """
        if not isinstance(data, dict) or not isinstance(data.get("schema"), int) or "kind" not in data:
            raise UsageError("This is not an Armillary record: it has no schema number and kind.")
        if data["schema"] > SCHEMA:
            raise UsageError(
                f"The record has schema {data['schema']}, and this Armillary reads up to {SCHEMA}; install a newer."
            )
        return decode(cls, data, "The record")

    def save(self, path: Path | str) -> None:
        """Write the record to ``path``, whole or not at all. Raises StorageError."""
        write_atomic(path, dumps(self.to_dict(), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path | str) -> "RunRecord":
        """The record in the file ``path``, or in ``record.json`` of the folder ``path``.

        Raises:
            UsageError: no such file, not JSON, not a record, or one of a newer Armillary.
            StorageError: the file can't be read.
        """
        path = Path(path)
        path = path / FILE_NAME if path.is_dir() else path
        try:
            data = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise UsageError(f"There is no record at {path}.") from None
        except (ValueError, RecursionError):
            raise UsageError(f"{path} is not an Armillary record: it holds no valid JSON.") from None
        except OSError as error:
            raise StorageError(f"{path} could not be read: {error.strerror or error}.") from error
        try:
            return cls.from_dict(data)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None

    def identities(self) -> dict[str, Any]:
        """What names each model, by its role."""
        return {role: facts.get("identity", facts.get("fingerprint")) for role, facts in self.models.items()}

    def comparable(self) -> dict[str, Any]:
        """What another run with the same settings must give again: everything that was measured, no prose.

        That is each claim's verdict with its numbers; where there are no claims, which is where a page may be arranged
        anew around them, also the numbers of each section's figures and the rows of its tables.
        """
        record = self.to_dict()
        measured = {name: record[name] for name in ("kind", "config", "models", "seed", "measures")}
        if self.claims:
            claims = {claim["id"]: [claim["verdict"], claim["measured"]] for claim in record["claims"]}
            return {**measured, "claims": claims}
        sections = {
            section["id"]: {
                "figures": [_numbers(figure["data"]) for figure in section["figures"]],
                "tables": [table["rows"] for table in section["tables"]],
            }
            for section in record["sections"]
        }
        return {**measured, "sections": sections}


def _numbers(data: Any) -> Any:
    """JSON data without its words."""
    if isinstance(data, dict):
        return {name: _numbers(value) for name, value in data.items() if not isinstance(value, str)}
    if isinstance(data, list):
        return [_numbers(value) for value in data if not isinstance(value, str)]
    return data
