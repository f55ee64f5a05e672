"""Any endpoint that speaks the chat completions of OpenAI: a service, or a server of one's own."""

import asyncio
import os
import random
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from armillary.chat.answer_cache import AnswerCache
from armillary.chat.chat_model import ChatModel, ChatSettings, Completion, Message, TokenCount, checked_messages
from armillary.errors import DownloadError, UsageError
from armillary.extras import optional

if TYPE_CHECKING:
    import httpx

KEY = "ARMILLARY_CHAT_KEY"
"""Environment variable of the key; OPENAI_API_KEY is read where it is not set. A key stands nowhere else: not in
settings, not in records, not in the cache."""

AGAIN = (408, 409, 425, 429, 500, 502, 503, 504, 529)
"""Statuses that mean "later": too many requests, or a server in trouble."""

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
"""Seconds before the first new try, doubled with each, and the most that is waited, whatever the endpoint asks for."""

Result = TypeVar("Result")


class _AskAgain(Exception):
    """A try that failed for a reason that may pass."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How hard an endpoint is tried."""

    tries: int = 6
    """Requests for one answer, the first among them: with waits of 0.5, 1, 2, 4 and 8 s, half a minute in all."""

    timeout: float = 120.0
    """Seconds until a request without an answer counts as failed: long answers take a minute."""

    concurrency: int = 8
    """Requests on their way at one time."""

    first_wait: float = FIRST_WAIT

    def __post_init__(self) -> None:
        if self.tries < 1 or self.concurrency < 1 or self.timeout <= 0 or self.first_wait < 0:
            raise UsageError(
                f"tries and concurrency must be 1 or more, timeout above 0 and first_wait 0 or more, got {self}."
            )


class Endpoint(ChatModel):
    """A model behind an endpoint. Answers are kept in ``cache`` as they come, and read from there the next time."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        cache: Path | str | None = None,
        patience: Patience | None = None,
        extra: dict[str, object] | None = None,
    ) -> None:
        """``url`` is what stands before ``/chat/completions``, such as http://localhost:8000/v1.

        ``extra`` goes with each request, for what one server has and another has not. The key is that of the
        environment variable ``ARMILLARY_CHAT_KEY`` or ``OPENAI_API_KEY``; a server of one's own needs none.

        Raises:
            UsageError: ``url`` is none, or the package httpx is missing (extra ``chat``).
        """
        optional("httpx", "chat")
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"the address of an endpoint begins with http:// or https://; got {url!r}.")
        if "@" in url.split("//", 1)[1].split("/", 1)[0]:
            raise UsageError(f"the address of an endpoint must hold no name or key; put the key into {KEY}.")
        self.url = url.rstrip("/").removesuffix("/chat/completions")
        self.model, self.patience, self.extra = model, patience or Patience(), dict(extra or {})
        self._cache = None if cache is None else AnswerCache(cache)
        self._tokens = TokenCount()

    @property
    def name(self) -> str:
        """The model and where it runs: what its answers are kept under."""
        return f"{self.model} at {self.url}"

    @property
    def tokens(self) -> TokenCount:
        """What the answers of this object cost so far."""
        return self._tokens

    def complete_all(
        self,
        conversations: Sequence[Sequence[Message]],
        settings: ChatSettings = ChatSettings(),
    ) -> list[Completion]:
        """The answers, in order, ``patience.concurrency`` of them asked for at a time.

        What was answered before an error, or before the process was killed, stays in the cache.

        Raises:
            UsageError: a conversation is none, or the endpoint refuses the request (status 400 to 499).
            DownloadError: the endpoint gave no answer in ``patience.tries`` tries, or none that can be read.
        """
        checked = [checked_messages(messages) for messages in conversations]
        completions = _run(self._all(checked, settings))
        for completion in completions:
            self._tokens = self._tokens.plus(completion)
        return completions

    async def _all(self, conversations: list[list[Message]], settings: ChatSettings) -> list[Completion]:
        httpx = optional("httpx", "chat")
        key = os.environ.get(KEY) or os.environ.get("OPENAI_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limit = asyncio.Semaphore(self.patience.concurrency)
        async with httpx.AsyncClient(timeout=self.patience.timeout, headers=headers) as client:

            async def answer(messages: list[Message]) -> Completion:
                kept = self._cache.get(self._kept_as(), messages, settings) if self._cache else None
                if kept is not None:
                    return kept
                async with limit:
                    completion = await self._answer(client, messages, settings)
                if self._cache is not None:
                    self._cache.put(self._kept_as(), messages, settings, completion)
                return completion

            tasks = [asyncio.create_task(answer(messages)) for messages in conversations]
            try:
                return list(await asyncio.gather(*tasks))
            finally:
                for task in tasks:
                    task.cancel()

    def _kept_as(self) -> str:
        return self.name if not self.extra else f"{self.name} with {sorted(self.extra.items())!r}"

    async def _answer(
        self, client: "httpx.AsyncClient", messages: list[Message], settings: ChatSettings
    ) -> Completion:
        """One answer, asked for until it comes."""
        # Jitter of its own for each conversation keeps many that failed together from coming back together.
        jitter = random.Random(repr(messages))
        why = ""
        for attempt in range(self.patience.tries):
            try:
                return await self._request(client, messages, settings)
            except _AskAgain as failure:
                why = str(failure)
                backoff = self.patience.first_wait * 2**attempt * jitter.uniform(0.75, 1.25)
                wait = min(LONGEST_WAIT, max(backoff, failure.wait or 0.0))
            if attempt + 1 < self.patience.tries:
                await asyncio.sleep(wait)
        raise DownloadError(f"{self.name} gave no answer in {self.patience.tries} tries; the last one: {why}.")

    async def _request(
        self, client: "httpx.AsyncClient", messages: list[Message], settings: ChatSettings
    ) -> Completion:
        httpx = optional("httpx", "chat")
        body = {
            "model": self.model, "messages": messages, "max_tokens": settings.max_tokens,
            "temperature": settings.temperature, "top_p": settings.top_p, "seed": settings.seed, **self.extra,
        }  # fmt: skip
        try:
            response = await client.post(f"{self.url}/chat/completions", json=body)
        except httpx.TimeoutException:
            raise _AskAgain(f"no answer in {self.patience.timeout:g} s") from None
        except httpx.TransportError as error:
            raise _AskAgain(f"{type(error).__name__}: {error}") from None
        if response.status_code in AGAIN:
            why = f"status {response.status_code} {_shortened(response.text)}"
            raise _AskAgain(why, _asked_wait(response.headers.get("retry-after")))
        if response.status_code >= 400:
            hint = f"; the key is read from {KEY}" if response.status_code in (401, 403) else ""
            raise UsageError(
                f"{self.name} refused the request with status {response.status_code}: "
                f"{_shortened(response.text)}{hint}."
            )
        try:
            return _completion(response.json())
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            # A proxy's page, or an answer that was cut on its way: the next try may be whole.
            raise _AskAgain(f"an answer that is no chat completion: {_shortened(response.text)}") from None


def _completion(data: object) -> Completion:
    if not isinstance(data, dict):
        raise TypeError
    choice, usage = data["choices"][0], data.get("usage") or {}
    text = choice["message"]["content"]
    if text is None:
        text = ""
    if not isinstance(text, str):
        raise TypeError
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    prompt, made = (count if isinstance(count, int) else None for count in counts)
    return Completion(
        text=text, prompt_tokens=prompt, completion_tokens=made, ended=choice.get("finish_reason") != "length"
    )


def _asked_wait(header: str | None) -> float | None:
    """Seconds that ``Retry-After`` asks for, given as such or as a date; None for neither."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _shortened(text: str) -> str:
    """What an endpoint said, in one line that fits a message."""
    line = " ".join(text.split())
    return line if len(line) <= 200 else f"{line[:199]}\u2026"


def _run(work: Coroutine[object, object, Result]) -> Result:
    """The result of asynchronous work, also where a loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(asyncio.run, work).result()
