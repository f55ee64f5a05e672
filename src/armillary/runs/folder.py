"""The folder of one run: locked while in use, resumable while unfinished, a record and a report when done."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from armillary.errors import ArmillaryError, StorageError
from armillary.files import remove_stale, remove_stale_folders, storage_sentence, write_atomic
from armillary.records.plain import digest, plain
from armillary.records.record import FILE_NAME, RunRecord
from armillary.runs.environment import versions
from armillary.runs.parts import Parts

REPORT_NAME = "report.html"
LOCK_NAME = ".lock"


class RunFolder:
    """Where a run keeps its parts and leaves ``record.json`` and ``report.html``. Made by ``open``.

    Parts are kept under a digest of the settings, the models' identities and the version of Armillary: a run that
    differs in any of them starts afresh, the same run goes on where it was killed.
    """

    def __init__(self, path: Path, config: Mapping[str, Any], models: Mapping[str, str] | None = None) -> None:
        """For ``open``, which takes the lock."""
        self.path = path
        self.config: dict[str, Any] = plain(config)
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self._clock = time.monotonic()
        self.bind(models or {})

    @classmethod
    @contextmanager
    def open(
        cls, out: Path | str, config: Mapping[str, Any], models: Mapping[str, str] | None = None
    ) -> Iterator["RunFolder"]:
        """The folder ``out``, made if need be and locked until the block ends.

        ``config`` holds every setting that the result depends on; ``models`` the identity of each model by its role
        (``bind`` gives them later, when the models are opened inside the block). The lock of a killed process frees
        itself.

        Raises:
            StorageError: another run is using the folder, or it can't be written.
        """
        path = Path(out)
        existed = path.exists()
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path / LOCK_NAME)
            lock.acquire(timeout=0)
        except Timeout:
            raise StorageError(
                f"Another run is using {path}; wait for it to end, or choose another folder with --out."
            ) from None
        except NotImplementedError:
            raise StorageError(f"The file system of {path} can't lock files; choose another folder.") from None
        except OSError as error:
            raise StorageError(storage_sentence(path, error)) from error
        try:
            remove_stale(path)
            remove_stale_folders(path)
            yield cls(path, config, models)
        finally:
            if not existed:
                _remove_if_unused(path)
            lock.release()

    def bind(self, models: Mapping[str, str]) -> None:
        """From here on, parts belong to models of these identities (role to identity)."""
        self.models = dict(models)
        identity = {"config": self.config, "models": self.models, "armillary": versions()["armillary"]}
        self.parts = Parts(self.path, digest(identity)[:16])

    @property
    def seconds(self) -> float:
        """Seconds since the folder was opened: this session only."""
        return round(time.monotonic() - self._clock, 1)

    def finished(self) -> RunRecord | None:
        """The record that this very run (settings, models, version) left before, its report redrawn if missing."""
        try:
            record = RunRecord.load(self.path)
        except ArmillaryError:
            return None
        if not self._is_ours(record) or record.versions.get("armillary") != versions()["armillary"]:
            return None
        if not (self.path / REPORT_NAME).exists():
            self._write_report(record)
        self.parts.clear()
        return record

    def finish(self, record: RunRecord) -> None:
        """Write ``record.json``, then ``report.html``, then remove the parts; a kill in between loses nothing.

        An earlier record in the same folder is replaced.

        Raises:
            ValueError: the record is of other settings or models than the folder was opened for.
            StorageError: no space or no permission.
        """
        if not self._is_ours(record):
            raise ValueError("The record's config and model identities must be those that the folder was opened with.")
        # First the old report goes: beside the new record it would show another run.
        with suppress(FileNotFoundError):
            (self.path / REPORT_NAME).unlink()
        record.save(self.path / FILE_NAME)
        self._write_report(record)
        self.parts.clear()

    def _is_ours(self, record: RunRecord) -> bool:
        return plain(record.config) == self.config and record.identities() == self.models

    def _write_report(self, record: RunRecord) -> None:
        # Drawing needs matplotlib, which a run that is only resumed or refused should not wait for.
        from armillary.report.html import render_html

        write_atomic(self.path / REPORT_NAME, render_html(record))


def _remove_if_unused(path: Path) -> None:
    """Take away a folder that holds nothing but its lock: a run that was refused leaves no trace."""
    with suppress(OSError):
        if [entry.name for entry in path.iterdir()] == [LOCK_NAME]:
            (path / LOCK_NAME).unlink()
            path.rmdir()
