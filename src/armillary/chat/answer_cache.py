"""Answers on the disk, so that a killed job asks for nothing twice and a repeated one costs nothing."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from armillary.chat.chat_model import ChatSettings, Completion, Message
from armillary.files import write_atomic
from armillary.records.plain import digest, dumps


class AnswerCache:
    """A folder of answers, each under a digest of model, messages and settings, written whole or not at all."""

    def __init__(self, folder: Path | str) -> None:
        """Below ``folder``, which is made when the first answer comes."""
        self.folder = Path(folder)

    def get(self, model: str, messages: Sequence[Message], settings: ChatSettings) -> Completion | None:
        """The answer to this very request; None where there is none, or a damaged one."""
        try:
            kept = json.loads(self._path(model, messages, settings).read_bytes())
            answer = kept["answer"]
            return Completion(
                text=str(answer["text"]),
                prompt_tokens=answer["prompt_tokens"],
                completion_tokens=answer["completion_tokens"],
                ended=bool(answer["ended"]),
                cached=True,
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, model: str, messages: Sequence[Message], settings: ChatSettings, completion: Completion) -> None:
        """Keep an answer. StorageError where it can't be written."""
        request = {"model": model, "messages": [*messages], "settings": asdict(settings)}
        write_atomic(
            self._path(model, messages, settings), dumps({"request": request, "answer": asdict(completion)}) + "\n"
        )

    def _path(self, model: str, messages: Sequence[Message], settings: ChatSettings) -> Path:
        name = digest({"model": model, "messages": [*messages], "settings": asdict(settings)})
        # Two letters make 256 folders: file systems are slow with a million names in one.
        return self.folder / name[:2] / f"{name}.json"
