"""`./dev up`: reads the settings, chooses the engine, runs the app. Where all rooms meet."""

import asyncio
import errno
import resource
import signal
import socket
import sys
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import click
import uvloop

from appliance import log
from appliance.accounts import deletions, setup
from appliance.accounts.box import Box, claim_database, open_box
from appliance.api.app import create_app, serving
from appliance.api.state import Silo
from appliance.config import Config
from appliance.data import held, listening
from appliance.engine import PATIENCE, make_engine
from appliance.store import database, hosts, once, people
from appliance.store.dialect import on_postgres
from appliance.terminal import fail, now, say, settings
from silo.errors import SiloError

SWEEP = 300
"""Seconds between clearings of what is kept for a while only."""
RETENTION = 3600
"""Seconds between looks for what the policy keeps no longer."""
MARGIN = 60_000
"""Milliseconds after which a request that was written down, and that no turn belongs to, was given up."""
MOMENT = 0.5
"""Seconds in which an engine that runs answers."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """The appliance."""


@main.command()
@click.option("--host", help="Name or address to listen on (SILO_HOST; localhost).")
@click.option("--port", help="Port to listen on, 0 for a free one (SILO_PORT; 6006).")
@click.option("--data", help="Folder for everything the silo keeps (SILO_DATA).")
@click.option("--model", help="A model as a GGUF file (SILO_MODELS); without it, the tiny one for trying out.")
@click.option("--engine", help="llama, or unix:/path of an engine that runs already (SILO_ENGINE).")
@click.option("--quiet", is_flag=True, help="Say nothing but what is wrong.")
def up(
    host: str | None, port: str | None, data: str | None, model: str | None, engine: str | None, quiet: bool
) -> None:
    """Serve a silo until Ctrl-C. Prints `ready LINK` once it answers.

    Example: ./dev up --port 7000 --model ~/models/qwen3-8b.gguf
    """
    try:
        config = settings(
            {"SILO_HOST": host, "SILO_PORT": port, "SILO_DATA": data, "SILO_MODELS": model, "SILO_ENGINE": engine}
        )
        log.start("error" if quiet else "warning" if sys.stderr.isatty() else config.log_level)
        # What memory holds is not for the disk: no core file, not of the engine either, which inherits this.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # Each connection is a file, and more are allowed than a shell's soft limit.
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        with held(config.data), bind(config) as listener:
            uvloop.run(serve(config, listener, quiet))
    except SiloError as error:
        sys.exit(fail(error))
    except KeyboardInterrupt:
        sys.exit(130)


def bind(config: Config) -> socket.socket:
    """The listening socket. Raises SiloError `port_taken`, `bad_settings`."""
    unknown = SiloError("bad_settings", f"SILO_HOST is {config.host!r:.80}; set it to an address of this machine")
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        if config.host == "localhost":
            family, address = socket.AF_INET, ("127.0.0.1", config.port)
        listener = socket.socket(family, kind)
    except (OSError, UnicodeError):
        raise unknown from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise unknown from None
        if error.errno == errno.EACCES:
            reason = f"SILO_PORT is {config.port}, which this user may not listen on; set it to 1024 or more"
            raise SiloError("bad_settings", reason) from None
        raise SiloError("port_taken", f"{config.port} ({error.strerror})") from None
    return listener


async def serve(config: Config, listener: socket.socket, quiet: bool) -> None:
    """Open everything, serve until told to stop, and close everything again. Raises SiloError."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if config.port == 0:
        config = replace(config, port=listener.getsockname()[1])
    async with AsyncExitStack() as stack:
        box = open_box(config.data, create=True)
        box.pin()  # so that a damaged one is found now
        await stack.enter_async_context(database.opened(config.database))
        await claim_database(box, now())
        folder = config.data / "engine"
        engine = make_engine(config.engine, config.model, folder, config.context, config.parallel, config.queue)
        stack.push_async_callback(engine.stop)
        talk = sys.stderr.isatty() and not quiet
        # Not ours to start: whoever does must be told that it is missing.
        path = config.engine.removeprefix("unix:") if config.engine.startswith("unix:") else ""
        if talk and not path:
            say("starting the model …")
        started = asyncio.create_task(engine.start())
        stopped = asyncio.create_task(stop.wait())
        if path and not quiet:
            await asyncio.wait({started, stopped}, timeout=MOMENT, return_when=asyncio.FIRST_COMPLETED)
            if not (started.done() or stopped.done()):
                end = time.strftime("%H:%M:%S", time.localtime(now() / 1000 + PATIENCE - MOMENT))
                say(f"waiting until {end} for the engine at {path}, where nothing answers yet")
        await asyncio.wait({started, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            started.cancel()
            return
        await started
        app = create_app(config, engine, now)
        await join(config.data, app.ctx.silo.host)
        # After the last turn is kept.
        stack.push_async_callback(leave, app.ctx.silo)
        await stack.enter_async_context(serving(app, listener))
        stack.enter_context(listening(config.data, config.address))
        for work in (sweep(), retain(app.ctx.silo), beat(app.ctx.silo)):
            stack.callback(asyncio.create_task(work).cancel)
        await announce(config, box, quiet)
        await stop.wait()
        if talk:
            say("stopping …")


async def sweep() -> None:
    """Now and then, drop what is kept for a while only."""
    while True:
        await tried(once.sweep(now()))
        await asyncio.sleep(SWEEP)


async def retain(silo: Silo) -> None:
    """At the start and then each hour, delete what the signed policy keeps no longer; and in between, give the
    deletion receipts that had to wait."""
    later = 0.0
    while True:
        try:
            if time.monotonic() >= later:
                later = time.monotonic() + RETENTION
                if await silo.trust.ready():
                    await deletions.retain(silo.box, silo.trust, silo.now())
            await deletions.settle(silo.box, silo.trust, silo.devices, silo.now(), silo.config.backup_days)
        except Exception as error:
            kind = error.code if isinstance(error, SiloError) else type(error).__name__
            log.logger().error("deleting by policy failed", kind=kind)
        await asyncio.sleep(SWEEP)


async def beat(silo: Silo) -> None:
    """Tell the other hosts of this silo that this one is alive, and what it does not run any more."""
    while True:
        await asyncio.sleep(hosts.EVERY)
        turns = {turn for _, turn in silo.turns}
        silo.cut_off = not await tried(hosts.beat(silo.host))
        await tried(once.give_up(silo.host, turns, silo.now() - MARGIN))


async def join(folder: Path, host: str) -> None:
    """Say that this process serves, and that the one before it in this folder does not: a crash told nobody."""
    if not on_postgres():
        return
    path = folder / "host"
    if path.exists():
        await hosts.leave(path.read_text("ascii", "replace").strip())
    path.write_text(host, "ascii")
    await hosts.beat(host)


async def leave(silo: Silo) -> None:
    """Nothing runs here any more."""
    await tried(hosts.leave(silo.host))


async def tried(work: Awaitable[None]) -> bool:
    """Do what can as well be done the next time; whether it was done."""
    try:
        await work
    except Exception as error:
        log.logger().error("the database did not take it", kind=type(error).__name__)
        return False
    return True


async def announce(config: Config, box: Box, quiet: bool) -> None:
    """`ready LINK` on stdout: the setup link until there is an administrator, the plain URL afterwards."""
    set_up = bool(await people.users())
    link = config.address if set_up else await setup.new_link(box, config.address, now())
    if not quiet:
        say(f"fingerprint  {box.spoken}")
        if not set_up:
            say("no administrator yet; in another terminal: ./dev silo init 'LINK', with the link below")
    click.echo(f"ready {link}")
    sys.stdout.flush()
