"""The transport: one request sealed to the silo's transport key, its answer opened as it comes (SPEC 4, 5.1).

    Door.ask        a whole answer
    Door.stream     a generated one, piece by piece

What comes in the clear is a hint from anybody: because of one this tries again or gives up, and nothing
else; it does not even say that the request did not run. What the silo itself refuses, sealed, is raised as `Refused`.
"""

import asyncio
import ipaddress
import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import httpx
import msgspec

from silo.client.home import Warn
from silo.crypto.channel import (
    BODY,
    END,
    HEAD,
    Destination,
    Keys,
    Part,
    ReplyOpener,
    Request,
    Seen,
    read_keys,
    seal_request,
)
from silo.crypto.encoding import Millis, b32, new_id, parse_json, read_json, write_json
from silo.crypto.keys import Signer
from silo.errors import TABLE, SiloError
from silo.files import write_private

NOBODY = bytes(16)
"""Stands for "no device"."""
KEYS_TRIED = 3
"""The most transport keys that one request is sealed to."""
PAUSES = (0.3, 1.0)
"""Seconds between tries after the network failed."""
SKEW = 120_000
"""The silo's clock is taken where this device's is further from it than this, in milliseconds."""
RETIMED = 5 * 60_000
"""For so long after its first try a request may take a new time, in milliseconds: with that it is acceptable for 20
minutes at most, and the silo knows for 30 what ran (SPEC 4.3)."""
REMEMBERED = 1_000
"""Requests of which it is remembered how often they were sent."""
CLEAR_LIMIT = 64 * 1024
BODY_LIMIT = 64 * 1024 * 1024

# What may be said in the clear, and the status that goes with it (SPEC 5.4).
CLEAR = {code: TABLE[code].status for code in ("bad_version", "stale_key", "cannot_open", "too_large", "busy")}
CLEAR["not_ready"] = TABLE["not_ready"].status


class Refused(SiloError):
    """What the silo answered, sealed: nobody else can have said it."""


class Unanswered(SiloError):
    """Nothing came that only the silo can have said, so whether the request ran is not known."""


class Broken(Unanswered):
    """The connection ended before the answer did: `truncated`, or `unreachable` where none had begun."""


class _NotSent(Broken):
    """There was no connection."""


class Hinted(Unanswered):
    """An answer in the clear: one of the hints of SPEC 5.4, or `bad_reply` for what is none."""

    def __init__(self, code: str, detail: str = "", keys: Any = None) -> None:
        super().__init__(code, detail)
        self.keys = keys
        """The silo's transport keys, which `stale_key` brings."""


@dataclass
class _Sent:
    """What became of a request so far."""

    began: int
    """When it was first tried, by this device's clock."""
    tries: int = 0
    """How many of them may have reached the silo."""
    id: str | None = None
    time: int | None = None
    """What it took after the silo refused its first time."""


class _Refusal(msgspec.Struct, frozen=True):
    """What is read of an error object whatever its code. It may have more members."""

    code: Annotated[str, msgspec.Meta(pattern=r"^[a-z]+(_[a-z]+)*\Z", max_length=40)]
    detail: str = ""
    now: Millis | msgspec.UnsetType = msgspec.UNSET
    retry_after: Annotated[float, msgspec.Meta(ge=0)] | msgspec.UnsetType = msgspec.UNSET


class _Head(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    status: int
    headers: dict[str, str]


@dataclass(frozen=True)
class Pin:
    """What a client accepts as the silo: from its link, later as the keyring certifies it."""

    silo: bytes
    identity: bytes
    """The identity's fingerprint, 32 bytes."""
    spare: bytes | None = None
    """The fingerprint of one that may take its place, and then does for good (SPEC 8.7)."""


@dataclass(frozen=True)
class Trust:
    """What a request names so that the silo seals to nothing else (SPEC 4.3, step 6)."""

    account: bytes
    keyring: Seen
    head: Seen | None


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class Stream:
    """An answer as it comes. Close it; a generated one that is not read to its end stops the model."""

    def __init__(self, response: httpx.Response, opener: ReplyOpener) -> None:
        self._response = response
        self._raw = response.aiter_raw()
        self._opener = opener
        self._parts: list[Part] = []
        self._over = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.end: bytes | None = None
        """The END part, once it has come."""

    async def _read(self) -> bool:
        """Take one piece off the wire; False at its end. Raises Broken, SiloError `payload_failure`."""
        if self._over:
            return False
        try:
            data = await anext(self._raw, None)
        except httpx.TransportError:
            raise Broken("truncated") from None
        if data is None:
            self._over = True
            try:
                self._opener.finish()
            except SiloError as error:
                raise Broken("truncated") if error.code == "truncated" else error from None
            return False
        self._parts += self._opener.push(data)
        return True

    async def read_head(self) -> None:
        """Wait for HEAD. Raises Broken, SiloError `payload_failure`, `bad_reply`."""
        while not self._parts:
            if not await self._read():
                raise Broken("truncated")
        first = self._parts.pop(0)
        try:
            # The opener lets nothing but HEAD come first.
            head = read_json(first.data, _Head)
        except ValueError as error:
            raise SiloError("bad_reply", str(error)) from None
        self.status, self.headers = head.status, head.headers

    async def pieces(self) -> AsyncIterator[bytes]:
        """The BODY, up to END. Raises Broken, SiloError `payload_failure`, `bad_reply` where it is too long."""
        size = 0
        while self.end is None:
            while self._parts and self.end is None:
                one = self._parts.pop(0)
                if one.kind == BODY:
                    size += len(one.data)
                    if size > BODY_LIMIT:
                        raise SiloError("bad_reply", "it does not end")
                    yield one.data
                elif one.kind == END:
                    self.end = one.data
                else:
                    raise AssertionError(HEAD)
            if self.end is None and not await self._read():
                raise Broken("truncated")

    async def drain(self) -> None:
        """Read the cover after END, so that the length on the wire stays padded. Raises as `pieces`."""
        while await self._read():
            pass

    async def whole(self) -> bytes:
        """The whole BODY, when the last frame has come. Raises as `pieces`."""
        body = b"".join([piece async for piece in self.pieces()])
        await self.drain()
        return body

    async def close(self) -> None:
        """Let go of the connection."""
        await self._response.aclose()


class Door:
    """A silo as one device reaches it.

    `now` is this device's clock in milliseconds, `cache` a file for the silo's transport keys. Without
    `device` and `signer` only paths that need no device answer.
    """

    def __init__(
        self,
        url: str,
        pin: Pin,
        now: Callable[[], int],
        warn: Warn,
        device: bytes = NOBODY,
        signer: Signer | None = None,
        cache: Path | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._pin = pin
        self._clock = now
        self._offset = 0
        self._warn = warn
        self._device = device
        self._signer = signer
        self._cache = cache
        self._keys: list[Destination] = []
        self._cache_read = False
        self._identity: bytes | None = None
        self.on_spare: Callable[[bytes], None] = lambda _: None
        """Told the spare's Ed25519 public key when it is met, before anything else counts of what it says."""
        self._sent: dict[str, _Sent] = {}
        self._http = httpx.AsyncClient(
            # A first word may take minutes on a small machine; a silent network must still end.
            timeout=httpx.Timeout(60, connect=10, read=600),
            headers={"accept-encoding": "identity", "user-agent": "securesilo"},
            # A proxy from the environment is for what is elsewhere.
            trust_env=not _is_loopback(url),
        )

    async def __aenter__(self) -> "Door":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    def now(self) -> int:
        """The time to sign with: this device's, or the pinned silo's where the two are far apart."""
        return self._clock() + self._offset

    def repin(self, pin: Pin) -> None:
        """Take another identity, which an accepted keyring certifies."""
        if pin != self._pin:
            self._pin, self._keys, self._identity = pin, [], None

    def enrol(self, device: bytes, signer: Signer) -> None:
        """Speak as this device from now on."""
        self._device, self._signer = device, signer

    # --- asking ---

    def request(self, method: str, path: str, trust: Trust | None = None) -> Request:
        """A new request; send it again as often as needed, it runs once."""
        request = Request(method, path, self.now())
        return named(request, trust) if trust else request

    async def ask(self, request: Request, body: Any) -> Answer:
        """The whole answer to `request` with `body` as JSON.

        Raises Refused for what the silo refuses, Broken where the network fails, Hinted for what is said in the
        clear, SiloError `wrong_silo`, `forged`, `stale`, `replay`, `payload_failure`, `bad_reply`.
        """
        for pause in (*PAUSES, None):
            stream = await self.stream(request, body)
            try:
                answer = Answer(stream.status, await stream.whole(), stream.headers)
                if stream.end is None or parse_json(stream.end) != {}:
                    raise SiloError("bad_reply", "its end is not empty")
                return answer
            except ValueError:
                raise SiloError("bad_reply", "its end") from None
            except Broken:
                if pause is None:
                    raise
                await asyncio.sleep(pause)
            finally:
                await stream.close()
        raise AssertionError

    def tries(self, request: Request) -> int:
        """How many tries of this request may have reached the silo."""
        return self._sent[request.id].tries if request.id in self._sent else 0

    def sent_as(self, request: Request) -> str:
        """The id under which this request may run: its own, or the one that it took with a new time."""
        sent = self._sent.get(request.id)
        return (sent and sent.id) or request.id

    async def stream(self, request: Request, body: Any) -> Stream:
        """The answer up to its HEAD; a refusal is raised. Raises as `ask`.

        After a failure of the network it tries again: same id, same time, sealed anew.
        """
        content = write_json(body)
        stale: list[str] = []
        pauses = iter(PAUSES)
        sent = self._remember(request)
        retime = False
        while True:
            destination: Destination | None = None
            try:
                destination = await self._destination(stale)
                if retime:
                    sent.time, retime = self.now(), False
                if sent.time is not None:
                    request = replace(request, id=sent.id or request.id, time=sent.time)
                return await self._send(destination, request, content, sent)
            except Hinted as hint:
                failure = hint
                if hint.code == "stale_key" and destination is not None:
                    stale.append(destination.key_id)
                    self._take_hint(hint.keys)
                    continue
                if hint.code != "busy":
                    raise
            except Broken as broken:
                failure = broken
            except Refused as refused:
                late = abs(self._clock() - sent.began) > RETIMED
                if refused.code != "clock" or sent.time is not None or late:
                    raise
                if refused.extra["now"] < request.time:
                    # It would be acceptable later, so the silo has written it down as refused; and it cannot have run.
                    sent.id = new_id()
                self._keys, retime = [], True
                continue
            pause = next(pauses, None)
            if pause is None:
                raise failure
            await asyncio.sleep(pause)

    def _remember(self, request: Request) -> _Sent:
        sent = self._sent.pop(request.id, None) or _Sent(self._clock())
        self._sent[request.id] = sent
        if len(self._sent) > REMEMBERED:
            del self._sent[next(iter(self._sent))]
        return sent

    async def _send(self, destination: Destination, request: Request, content: bytes, sent: _Sent) -> Stream:
        sealed, opener = seal_request(destination, request, content, self._device, self._signer)
        sent.tries += 1
        try:
            response = await self._http_send(
                self._http.build_request(
                    "POST",
                    f"{self._url}/silo/1/{destination.key_id}",
                    content=sealed,
                    headers={"content-type": "application/octet-stream"},
                )
            )
        except _NotSent:
            sent.tries -= 1
            raise
        stream = Stream(response, opener)
        try:
            if response.status_code != 200:
                await _clear(response)
            if response.headers.get("content-type", "").split(";")[0] != "application/octet-stream":
                raise Hinted("bad_reply", "its content-type")
            await stream.read_head()
            if stream.status >= 400:
                raise _refusal(await stream.whole())
        except BaseException:
            await stream.close()
            raise
        return stream

    async def _http_send(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._http.send(request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            raise _NotSent("unreachable", self._url) from None
        except httpx.TransportError:
            raise Broken("unreachable", self._url) from None

    # --- transport keys (SPEC 5.1) ---

    async def identity(self) -> bytes:
        """The pinned identity's Ed25519 public key, from the silo's signed keys. Raises as `ask`."""
        if self._identity is None:
            await self._fetch_keys()
        if self._identity is None:
            raise AssertionError
        return self._identity

    async def _destination(self, stale: list[str]) -> Destination:
        if not self._cache_read:
            self._read_cache()
        if len(stale) < KEYS_TRIED:
            for fetch in (False, True):
                if fetch:
                    await self._fetch_keys()
                for key in self._keys:
                    if key.key_id not in stale and key.until > self.now():
                        return key
        raise Hinted("stale_key")

    async def _fetch_keys(self) -> None:
        nonce = b32(secrets.token_bytes(32))
        asked = self._clock()
        response = await self._http_send(self._http.build_request("GET", f"{self._url}/silo/keys?nonce={nonce}"))
        try:
            if response.status_code != 200:
                await _clear(response)
            answer = await _read_clear(response)
        except Hinted as hint:
            # Here it makes no sense, and to follow it would never end.
            if hint.code == "stale_key":
                raise Hinted("bad_reply", "stale_key") from None
            raise
        finally:
            await response.aclose()
        try:
            self._take_keys(answer, nonce, asked)
        except SiloError as error:
            # What is no signed answer at all may be anybody's.
            raise Hinted("bad_reply", error.detail) if error.code == "bad_reply" else error from None

    def _take_keys(self, answer: bytes, nonce: str | None, asked: int = 0) -> None:
        keys = self._read_keys(answer, nonce)
        if nonce is not None:
            # Only an answer to our own nonce tells the time; one in a hint may be old. The silo spoke at some moment
            # between question and answer, however long somebody kept either: only what is outside them is apart.
            apart = min(0, keys.now - asked) or max(0, keys.now - self._clock())
            offset = apart if abs(apart) > SKEW else 0
            if offset and not self._offset:
                self._warn(f"this device's clock is {_minutes(apart)} the silo's; the silo's time is used")
            self._offset = offset
        self._keys, self._identity = keys.destinations, keys.identity
        if self._cache is not None:
            with suppress(OSError):
                write_private(self._cache, answer)

    def _read_keys(self, answer: bytes, nonce: str | None) -> Keys:
        """Keys as the pinned identity signed them, or its spare: then the former one counts no more."""
        try:
            return read_keys(answer, self._pin.silo, self._pin.identity, nonce, self.now())
        except SiloError as error:
            if error.code != "wrong_silo" or self._pin.spare is None:
                raise
        keys = read_keys(answer, self._pin.silo, self._pin.spare, nonce, self.now())
        self.on_spare(keys.identity)
        self._pin = Pin(self._pin.silo, self._pin.spare)
        return keys

    def _take_hint(self, keys: Any) -> None:
        """Keys that came with `stale_key`: they count only as signed by the pinned identity."""
        self._keys = []
        with suppress(SiloError):
            self._take_keys(keys.encode() if isinstance(keys, str) else json.dumps(keys).encode(), None)

    def _read_cache(self) -> None:
        # A cache that does not fit is no cache.
        self._cache_read = True
        if self._cache is not None:
            with suppress(OSError, SiloError):
                keys = self._read_keys(self._cache.read_bytes(), None)
                self._keys, self._identity = keys.destinations, keys.identity


def named(request: Request, trust: Trust) -> Request:
    """The same request, naming what this device accepts now."""
    return replace(request, account=trust.account, keyring=trust.keyring, head=trust.head)


def _is_loopback(url: str) -> bool:
    host = httpx.URL(url).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _minutes(apart: int) -> str:
    minutes = round(abs(apart) / 60_000)
    much = f"{minutes} min" if minutes < 120 else f"{round(minutes / 60)} h"
    return f"{much} behind" if apart > 0 else f"{much} ahead of"


async def _read_clear(response: httpx.Response) -> bytes:
    body = bytearray()
    try:
        async for piece in response.aiter_raw():
            body += piece
            if len(body) > CLEAR_LIMIT:
                raise Hinted("bad_reply", "it is too long")
    except httpx.TransportError:
        raise Broken("truncated") from None
    return bytes(body)


async def _clear(response: httpx.Response) -> NoReturn:
    """Raises the hint that a clear answer is, Hinted `bad_reply` where it is none."""
    status = response.status_code
    body = await _read_clear(response)
    try:
        said = parse_json(body)
        code = said["error"]["code"]
        if CLEAR[code] != status:
            raise ValueError
        keys = said.get("keys")
    except (ValueError, KeyError, TypeError):
        raise Hinted("bad_reply", f"HTTP {status}") from None
    raise Hinted(code, keys=keys)


def _refusal(body: bytes) -> Refused:
    try:
        error = parse_json(body)["error"]
    except (ValueError, KeyError, TypeError):
        raise SiloError("bad_reply", "a refusal without a reason") from None
    return refusal_of(error)


def refusal_of(error: Any) -> Refused:
    """The error object of a sealed answer; `unknown_code` where its code is none that crosses the wire.

    Raises SiloError `bad_reply` for what is no error object, or lacks what its code brings along.
    """
    try:
        said = msgspec.convert(error, _Refusal, strict=True)
    except msgspec.ValidationError:
        raise SiloError("bad_reply", "a refusal without a reason") from None
    if said.code == "clock" and said.now is msgspec.UNSET:
        raise SiloError("bad_reply", "a refusal of the clock without the silo's time")
    if said.code not in TABLE or not TABLE[said.code].status:
        return Refused("unknown_code", said.code)
    refused = Refused(said.code, said.detail)
    refused.extra = {key: value for key, value in error.items() if key not in ("code", "message", "hint", "detail")}
    return refused
