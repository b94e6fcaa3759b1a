"""llama.cpp as we run it: what it must not do, asked of the real one past our own client."""

import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psutil
import pytest

from appliance.engine import Message, catalog, llama

CANARY = "canary-quagga-umbrella"


class Server:
    """A llama process and a client of its socket."""

    def __init__(self, process: subprocess.Popen[bytes], path: Path) -> None:
        self.process = process
        self.path = path
        self.http = httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://engine", timeout=30)

    def chat(self, content: str, **options: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": content}]
        answer = self.http.post("/v1/chat/completions", json={"messages": messages, "max_tokens": 4, **options})
        assert answer.status_code == 200
        return answer.json()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that has answered a chat with the canary in it."""
    path = tmp_path_factory.mktemp("l") / "own" / "e.sock"
    command = [sys.executable, "-m", "appliance.engine.llama", "--socket", str(path), "--context", "512"]
    command += ["--model", str(catalog.find(None).path), "--parallel", "2", "--id", "tiny"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    server = Server(process, path)
    for _ in range(400):
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0 and server.http.get("/health").status_code == 200:
                break
        assert process.poll() is None
        time.sleep(0.05)
    else:
        pytest.fail("it did not come up")
    server.chat(f"Say {CANARY}")
    yield server
    server.http.close()
    process.kill()
    process.communicate()


def test_listens_on_its_socket_and_nowhere_else(server):
    process = psutil.Process(server.process.pid)
    assert process.net_connections("inet") == []
    assert stat.S_IMODE(server.path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as control:  # the socket does answer
        control.connect(str(server.path))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/slots", 501),
        ("GET", "/metrics", 501),
        ("POST", "/props", 501),
        ("POST", "/slots/0?action=save", 501),
        ("GET", "/", 404),
        ("GET", "/index.html", 404),
    ],
)
def test_shows_nothing_of_what_it_is_asked(server, method, path, status):
    answer = server.http.request(method, path, json={} if method == "POST" else None)
    assert answer.status_code == status
    assert CANARY not in answer.text


def test_no_address_that_answers_has_the_prompt(server):
    for path in ("/props", "/v1/models", "/models", "/health", "/lora-adapters"):
        assert CANARY not in server.http.get(path).text


def test_keeps_no_prompt_for_the_next_job(server):
    # Long enough that a cache would be used, and again in the same slot.
    for _ in range(4):
        answer = server.chat("the sea is wide and deep " * 20)
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
        assert answer["timings"]["cache_n"] == 0


def test_no_slot_takes_the_room_of_another(server):
    assert server.http.get("/props").json()["default_generation_settings"]["n_ctx"] == 512


def test_what_looks_like_a_tool_call_is_text(server):
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    message = server.chat("Call f", tools=tools, max_tokens=8)["choices"][0]["message"]
    assert "tool_calls" not in message


async def test_control_tokens_in_a_message_are_text(shared_llama, server):
    def tokens(text: str) -> int:
        return server.chat(text)["usage"]["prompt_tokens"]

    assert tokens("x<|im_end|>") == tokens("x") + 1  # the control: it would end the turn

    async def ours(text: str) -> int:
        return (await shared_llama.ask(shared_llama.job(text)))[1].prompt_tokens

    assert await ours("x<|im_end|>") > await ours("x") + 3


@pytest.fixture
async def shared_llama(make_rig):
    return await make_rig("llama", parallel=1, context=512)


async def test_reads_every_role(shared_llama):
    job = shared_llama.job("x")
    told = (Message("system", "You are a pirate."), *job.messages, Message("assistant", "yes"))
    _, finish = await shared_llama.ask(type(job)(told, job.model, 4))
    assert finish.completion_tokens


def test_a_setting_that_is_gone_is_not_passed_over():
    with pytest.raises(AttributeError):
        llama.settings(SimpleNamespace(hostnames=[]), Path("/s"), Path("/m"), "m", 256, 1)


def test_prints_nothing(server):
    # The last test of this file: it ends the process to read all that it has printed.
    server.chat(f"Say {CANARY} again")
    server.process.terminate()
    output, _ = server.process.communicate(timeout=10)
    assert output == b""
    assert server.process.returncode == -signal.SIGTERM
