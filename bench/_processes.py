"""The processes of a bench: nginx, the appliance, the mock engine; what they cost, read from /proc."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.harness import ROOT, Device, Served

NGINX = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr crit;
{user}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream engine {{ server unix:{engine}; keepalive 256; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://engine;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


class Failed(Exception):
    """A bench that cannot go on; the text says why."""


def find_nginx() -> str:
    """The path of nginx. Raises Failed."""
    # Debian keeps servers out of a user's PATH.
    path = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
    if not path:
        raise Failed("nginx is not installed: apt install nginx")
    return path


@contextmanager
def running(command: list[str], ready: Callable[[], bool]) -> Iterator[int]:
    """A process that is ended at the end; gives its id once `ready`. Raises Failed."""
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    try:
        until = time.monotonic() + 30
        while not ready():
            if process.poll() is not None or time.monotonic() > until:
                raise Failed(f"{Path(command[0]).name} did not start")
            time.sleep(0.02)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


@contextmanager
def mock_engine(socket: Path, gap_ms: float) -> Iterator[int]:
    """A mock engine on `socket`. Raises Failed."""
    command = [sys.executable, "-P", "-m", "bench._mock", "--socket", str(socket), "--gap-ms", str(gap_ms)]
    with running(command, lambda: answers(str(socket))) as pid:
        yield pid


@contextmanager
def nginx(folder: Path, engine: Path) -> Iterator[tuple[int, int]]:
    """nginx in front of the engine; gives its process and its port. Raises Failed."""
    program = find_nginx()
    folder.mkdir()
    port = free_port()
    # Started by root it would serve as somebody else, who may not enter the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, engine=engine, port=port, user=user))
    with running([program, "-p", str(folder), "-c", str(config), "-e", "stderr"], lambda: answers(port)) as pid:
        yield pid, port


@contextmanager
def appliance(data: Path, engine: Path, shape: str, places: int) -> Iterator[tuple[Served, Device]]:
    """A real silo in front of the engine, set up through its door; `places` is how many streams may run."""
    settings = {"SILO_SHAPE": shape, "SILO_PARALLEL": str(places), "SILO_HOST": "127.0.0.1", "SILO_DOOR_RATE": "1000"}
    served = Served(data, f"unix:{engine}", **settings)
    try:
        device = Device(served.start().link)
        try:
            yield served, device.set_up()
        finally:
            device.http.close()
    finally:
        served.stop()


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(where: str | int) -> bool:
    """Whether somebody listens on a Unix socket or a port."""
    with socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET) as probe, suppress(OSError):
        probe.connect(where if isinstance(where, str) else ("127.0.0.1", where))
        return True
    return False


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for one in found:
        with suppress(OSError):
            for thread in Path(f"/proc/{one}/task").iterdir():
                found += [int(child) for child in (thread / "children").read_text().split()]
    return found


def cpu(pids: list[int]) -> float:
    """Seconds of CPU that these processes have used, all threads, to the nanosecond."""
    total = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9


def memory(pid: int, peak: bool = False) -> float:
    """MiB of a process in memory, what it shares with others included: now, or the most there ever were."""
    name = "VmHWM:" if peak else "VmRSS:"
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise Failed("the process has gone")
