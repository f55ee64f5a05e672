"""A chat model by the words that a command line has for it."""

from armillary.chat.chat_model import ChatModel
from armillary.errors import UsageError


def open_chat(model: str, url: str | None = None, cache: str | None = None) -> ChatModel:
    """The endpoint's model of that name, or with no ``url`` a local one; ``cache`` is the folder of its answers.

    Raises as ``Endpoint`` and ``LocalChat``; UsageError for a name without a letter.
    """
    if not model.strip():
        raise UsageError("a chat model needs a name; got an empty one.")
    from armillary.chat.endpoint import Endpoint
    from armillary.chat.local import LocalChat

    return LocalChat(model, cache=cache) if url is None else Endpoint(url, model, cache=cache)
