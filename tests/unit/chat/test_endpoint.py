"""Against a server of the test's own: what is asked, what is tried again, what is kept."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx")

from armillary.chat import ChatModel, ChatSettings, Endpoint, Patience, user
from armillary.errors import DownloadError, UsageError

QUICK = Patience(tries=4, timeout=5, concurrency=4, first_wait=0.001)
Reply = tuple[int, dict[str, str], str]


def completion(text: str | None, finish: str = "stop", usage: bool = True) -> Reply:
    body: dict[str, Any] = {"choices": [{"message": {"content": text}, "finish_reason": finish}]}
    if usage:
        body["usage"] = {"prompt_tokens": 7, "completion_tokens": 3}
    return 200, {}, json.dumps(body)


class Server:
    """Answers with what ``reply`` makes of a request's body and of how many came before it."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.at_once = self.most_at_once = 0
        self.reply: Callable[[dict[str, Any], int], Reply] = lambda body, count: completion(
            body["messages"][-1]["content"].upper()
        )
        lock, server = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    count = len(server.requests)
                    server.requests.append(body)
                    server.keys.append(self.headers.get("Authorization"))
                    server.at_once += 1
                    server.most_at_once = max(server.most_at_once, server.at_once)
                status, headers, content = server.reply(body, count)
                with lock:
                    server.at_once -= 1
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                data = content.encode()
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("ARMILLARY_CHAT_KEY", "OPENAI_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()
    made.thread.join()


def test_many_are_answered_in_order_and_their_tokens_counted(server: Server) -> None:
    def slow_at_first(body: dict[str, Any], count: int) -> Reply:
        time.sleep(0.03 if count < 4 else 0)
        return completion(body["messages"][-1]["content"].upper(), usage=count != 5)

    server.reply = slow_at_first
    model = Endpoint(server.url, "m", patience=QUICK, extra={"min_p": 0.1})
    answers = model.complete_all([user(f"word {n}", "be loud") for n in range(9)], ChatSettings(max_tokens=9, seed=4))
    assert [answer.text for answer in answers] == [f"WORD {n}" for n in range(9)]
    assert 2 <= server.most_at_once <= 4, "side by side, but never more than the limit"
    assert {key: server.requests[0][key] for key in ("model", "max_tokens", "seed", "min_p", "temperature")} == {
        "model": "m", "max_tokens": 9, "seed": 4, "min_p": 0.1, "temperature": 0.0,
    }  # fmt: skip
    assert server.requests[0]["messages"][0] == {"role": "system", "content": "be loud"}
    assert (model.tokens.prompt, model.tokens.completion, model.tokens.requests, model.tokens.untold) == (56, 24, 9, 1)
    assert "of 1 the endpoint told no tokens" in str(model.tokens)
    assert isinstance(model, ChatModel) and server.keys == [None] * 9


def test_what_may_pass_is_tried_again_and_what_will_not_is_refused(server: Server) -> None:
    passing: list[Reply] = [
        (429, {"Retry-After": "0.1"}, "slow down"), (500, {}, "oops"), (200, {}, "<html>proxy</html>"),
        completion("ok"),
    ]  # fmt: skip
    server.reply = lambda body, count: passing[count]
    before = time.monotonic()
    assert Endpoint(server.url, "m", patience=QUICK).complete(user("hi")).text == "ok"
    assert time.monotonic() - before >= 0.1 and len(server.requests) == 4, "as long as it was asked to wait"
    server.reply = lambda body, count: (503, {}, "down")
    with pytest.raises(DownloadError, match=r"no answer in 4 tries; the last one: status 503 down"):
        Endpoint(server.url, "m", patience=QUICK).complete(user("hi"))
    assert len(server.requests) == 8
    server.reply = lambda body, count: (401, {}, "who are you")
    with pytest.raises(UsageError, match=r"status 401: who are you; the key is read from ARMILLARY_CHAT_KEY"):
        Endpoint(server.url, "m", patience=QUICK).complete(user("hi"))
    assert len(server.requests) == 9, "a refusal is not tried again"
    for wrong in ('{"choices": []}', '{"choices": [{"message": {"content": 3}}]}', "[1]", '{"choices": [{"mess'):
        server.reply = lambda body, count, wrong=wrong: (200, {}, wrong)  # type: ignore[misc]
        with pytest.raises(DownloadError, match="no chat completion"):
            Endpoint(server.url, "m", patience=Patience(tries=1)).complete(user("hi"))
    server.reply = lambda body, count: time.sleep(0.4) or completion("late")  # type: ignore[func-returns-value]
    with pytest.raises(DownloadError, match=r"no answer in 0\.05 s"):
        Endpoint(server.url, "m", patience=Patience(tries=1, timeout=0.05)).complete(user("hi"))


def test_a_refused_answer_and_a_cut_one_are_told(server: Server) -> None:
    server.reply = lambda body, count: completion(None if count else "half a", "stop" if count else "length")
    model = Endpoint(server.url, "m", patience=QUICK)
    assert not model.complete(user("hi")).ended
    assert model.complete(user("hi")).text == ""


def test_answers_are_kept_under_all_that_they_depend_on(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    monkeypatch.setenv("ARMILLARY_CHAT_KEY", "sk-secret")
    model = Endpoint(server.url, "m", cache=tmp_path, patience=QUICK)
    first = model.complete(user("hi"))
    assert server.keys == ["Bearer sk-secret"] and not first.cached
    again = Endpoint(server.url + "/", "m", cache=tmp_path, patience=QUICK)
    kept = again.complete(user("hi"))
    assert (kept.text, kept.cached, len(server.requests)) == ("HI", True, 1)
    assert (again.tokens.requests, again.tokens.cached, again.tokens.prompt) == (0, 1, 0)
    again.complete(user("hi"), ChatSettings(seed=1))
    Endpoint(server.url, "other", cache=tmp_path, patience=QUICK).complete(user("hi"))
    Endpoint(server.url, "m", cache=tmp_path, patience=QUICK, extra={"min_p": 0.1}).complete(user("hi"))
    assert len(server.requests) == 4
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 4 and not any("sk-" in path.read_text() for path in files), "a key stands nowhere"
    for path in files:
        path.write_text(path.read_text()[:40])
    assert not model.complete(user("hi")).cached and len(server.requests) == 5, "a damaged answer is asked for again"


def test_a_killed_job_asks_only_for_what_is_missing(server: Server, tmp_path: Path) -> None:
    reached = threading.Event()

    def held_up(body: dict[str, Any], count: int) -> Reply:
        if count == 2:
            reached.set()
            time.sleep(3)
        return completion(body["messages"][-1]["content"])

    server.reply = held_up
    code = (
        "import sys\nfrom armillary.chat import Endpoint, Patience, user\n"
        "Endpoint(sys.argv[1], 'm', cache=sys.argv[2], patience=Patience(concurrency=1)).complete_all("
        "[user(str(n)) for n in range(4)])"
    )
    job = subprocess.Popen([sys.executable, "-c", code, server.url, str(tmp_path)])
    assert reached.wait(20)
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    server.reply = lambda body, count: completion(body["messages"][-1]["content"])
    model = Endpoint(server.url, "m", cache=tmp_path, patience=QUICK)
    assert [answer.text for answer in model.complete_all([user(str(n)) for n in range(4)])] == ["0", "1", "2", "3"]
    assert (model.tokens.cached, model.tokens.requests) == (2, 2)


def test_inside_a_running_loop_it_works_as_well(server: Server) -> None:
    async def notebook() -> str:
        return Endpoint(server.url, "m", patience=QUICK).complete(user("hi")).text

    assert asyncio.run(notebook()) == "HI"


def test_wrong_addresses_and_conversations_are_refused(server: Server) -> None:
    with pytest.raises(UsageError, match=r"begins with http:// or https://; got 'localhost:80'"):
        Endpoint("localhost:80", "m")
    with pytest.raises(UsageError, match="no name or key"):
        Endpoint("https://me:sk-1@host/v1", "m")
    with pytest.raises(UsageError, match="at least one message"):
        Endpoint(server.url, "m").complete([])
    with pytest.raises(UsageError, match="role"):
        Endpoint(server.url, "m").complete([{"role": "robot", "content": "x"}])  # type: ignore[typeddict-item]
    with pytest.raises(UsageError, match="tries and concurrency"):
        Patience(tries=0)
