"""Everything of ours that reads foreign bytes, each as a function of bytes that raises nothing but what it says.

    python -m tests.hostile.parsers TARGET FOLDER [libFuzzer's options]    atheris, guided by coverage
    python -m tests.hostile.parsers TARGET FILE                            that one input again

What the bytes are signed with, sealed with or hashed into is made here, as an attacker who holds the keys would: so
the readers behind the signatures are reached. Where atheris has no wheel, seeds are bent by chance alone.
"""

import importlib.util
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path

if (guided := importlib.util.find_spec("atheris") is not None) and __name__ == "__main__":
    import atheris  # pyright: ignore[reportMissingImports]

    instrumented = atheris.instrument_imports(  # pyright: ignore[reportAttributeAccessIssue]
        include=["silo", "appliance.api", "msgspec", "json"]
    )
else:
    instrumented = nullcontext()

with instrumented:
    import h11
    import msgspec
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from appliance.api.bodies import read_body
    from appliance.api.strict import fits
    from silo import messages
    from silo.client.recover import recover
    from silo.client.setup import parse_link
    from silo.crypto import _hpke, keyring, labels
    from silo.crypto.channel import HEADER_SIZE, ReplyOpener, ReplySealer, TransportKey, part, read_keys, state_keys
    from silo.crypto.encoding import b32, b64, new_id, padme, parse_json, read_json, write_json
    from silo.crypto.frames import FRAME, FrameSealer, ReplyFrames, WholeOpener, seal_whole
    from silo.crypto.keyfile import read_admin_key, write_admin_key
    from silo.crypto.keyring import SignedKeyring, first_keyring, verify_keyring
    from silo.crypto.keys import AdminKey, Enrolment, Signer, fingerprint, read_enrolment, recipient_of
    from silo.crypto.labels import pack, unpack
    from silo.crypto.opening import open_core, read_place
    from silo.crypto.sealing import (
        NO_HASH,
        Place,
        commitment,
        frame_key,
        head_hash,
        make_receipt,
        read_receipt,
        seal_record,
    )
    from silo.errors import SiloError

KEY, CONTEXT, SILO = bytes(range(32)), b"c" * 32, b"s" * 16
IDENTITY, ADMIN = Signer(b"i" * 32), AdminKey(b"a" * 32)
NOW = 1_800_000_000_000


def _expect(error: SiloError, codes: set[str]) -> None:
    if error.code not in codes:
        raise AssertionError(error.code)


def says(codes: set[str], call: Callable[[], object]) -> bool:
    """Whether the call went through; a SiloError with another code is a fault."""
    try:
        call()
    except SiloError as error:
        _expect(error, codes)
        return False
    return True


# --- JSON ---

KINDS = [one for one in vars(messages).values() if isinstance(one, type) and issubclass(one, msgspec.Struct)]
KINDS += [keyring.Document, SignedKeyring]


def strict_json(data: bytes) -> None:
    """What we take another strict reader takes as the same, and we take again what we write of it."""
    try:
        value = parse_json(data)
    except ValueError:
        return
    with suppress(RecursionError):
        assert msgspec.json.decode(data) == value
        assert parse_json(write_json(value)) == value


def message(data: bytes) -> None:
    """The first byte chooses the type. Small and large, a body has one verdict."""
    if not data:
        return
    kind, text = KINDS[data[0] % len(KINDS)], data[1:]
    try:
        value = read_json(text, kind)
    except ValueError:
        value = None
    else:
        assert read_json(write_json(value), kind) == value
    with suppress(RecursionError):
        # Blanks make it large, and are none of its meaning.
        large = says({"bad_request"}, lambda: read_body(text.ljust(70_000), kind, "body"))
        assert large == (value is not None)


# --- the door ---

TRANSPORT = TransportKey(SILO, CONTEXT, NOW, NOW + 1000)
HEADER_KEY = b"h" * 32
SEALED_KEY = _hpke.seal(TRANSPORT.destination.public, HEADER_KEY, TRANSPORT._label)  # pyright: ignore[reportPrivateUsage]


def prefix(data: bytes) -> None:
    """Bytes at the door."""
    assert not says({"bad_version", "cannot_open"}, lambda: TRANSPORT.open_header(data))


def header(data: bytes) -> None:
    """A header's plaintext, sealed as it is."""
    start = b"\x01" + SEALED_KEY
    sealed = AESGCM(HEADER_KEY).encrypt(bytes(12), data[:HEADER_SIZE].ljust(HEADER_SIZE, b"\0"), start)
    try:
        opened = TRANSPORT.open_header(start + sealed)
    except SiloError as error:
        _expect(error, {"cannot_open"})
        return
    says({"forged"}, lambda: opened.check_signature(IDENTITY.public))
    says({"forged"}, lambda: opened.check_signature(None))
    opened.reply().whole(b"x")
    says({"payload_failure", "truncated"}, lambda: opened.body(1000).finish())


def _honest_header() -> bytes:
    fields = {"id": "a" * 26, "time": NOW, "method": "GET", "path": "/me", "request": "a" * 52, "reply": "a" * 52}
    seen = {"at": 1, "hash": "a" * 52}
    rest = {"headers": {"accept": "x"}, "account": "a" * 52, "keyring": seen, "head": None}
    return bytes(80) + write_json(fields | rest)


def http_head(data: bytes) -> None:
    """What we take of HTTP another strict reader takes, and finds the same body announced."""
    data = data[:8000]
    if not fits(data):
        return
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert b"\r" not in data.replace(b"\r\n", b"")
    assert b"\0" not in data
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(data + b"\r\n\r\n")
    request = reader.next_event()
    assert isinstance(request, h11.Request), request
    values = [value for name, value in request.headers if name in (b"content-length", b"transfer-encoding")]
    assert len(values) <= 1


def keys_answer(data: bytes) -> None:
    """An answer of `GET /silo/keys`, and a statement signed as it is."""
    codes = {"bad_reply", "wrong_silo", "forged", "replay", "stale"}
    mark = recipient_of(KEY).fingerprint
    says(codes, lambda: read_keys(data, SILO, mark, None))
    text = data.decode(errors="replace")
    signature = IDENTITY.sign(labels.KEYS, text.encode())
    signed = write_json({"statement": text, "signature": b64(signature)})
    says(codes, lambda: read_keys(signed, SILO, fingerprint(IDENTITY.public), None, NOW))


# --- frames ---


def _cuts(data: bytes) -> list[bytes]:
    # Plaintexts of frames: each behind its length in two bytes.
    pieces: list[bytes] = []
    while data and len(pieces) < 64:
        size = int.from_bytes(data[:2], "big") % 1024
        pieces.append(data[2 : 2 + size])
        data = data[2 + size :]
    return pieces


def _stream(data: bytes) -> bytes:
    pieces, sealer = _cuts(data[1:]), FrameSealer(KEY, CONTEXT)
    last = len(pieces) - 1 if data[:1] < b"\xe0" else data[0] % 8
    return b"".join(sealer.seal(one, at == last) for at, one in enumerate(pieces[: last + 1])) + (
        data[-(data[0] % 4) :] if data[:1] > b"\xf0" else b""
    )


def _whole(data: bytes, step: int) -> bytes | str:
    opener = WholeOpener(KEY, CONTEXT, padme(20_000))
    try:
        for at in range(0, len(data), step):
            assert opener.push(data[at : at + step]) == []
        return opener.finish()
    except SiloError as error:
        _expect(error, {"payload_failure", "truncated", "too_large"})
        return error.code


def whole_frames(data: bytes) -> None:
    """Bytes as they are, and as plaintexts of frames: one verdict however they are split, and one spelling."""
    for stream in (data, _stream(data)):
        verdict = _whole(stream, len(stream) or 1)
        assert verdict == _whole(stream, 7)
        if isinstance(verdict, bytes):
            assert stream == seal_whole(KEY, CONTEXT, verdict)
    content = data[:20_000]
    assert _whole(seal_whole(KEY, CONTEXT, content), 100) == content


def _reply(data: bytes, step: int) -> tuple[bytes, str]:
    opener, out = ReplyFrames(KEY, CONTEXT), b""
    try:
        for at in range(0, len(data), step):
            out += b"".join(opener.push(data[at : at + step]))
        opener.finish()
    except SiloError as error:
        return out, error.code
    return out, ""


def reply_frames(data: bytes) -> None:
    """The same for replies; what was released is released however they are split."""
    padded = bytearray(data[:1])
    for piece in _cuts(data[1:]):
        full = piece.ljust(max(256, -(-len(piece) // 256) * 256), b"\0")
        padded += len(full).to_bytes(2, "big") + full
    for stream in (data, _stream(bytes(padded))):
        assert _reply(stream, len(stream) or 1) == _reply(stream, 11)


def reply_parts(data: bytes) -> None:
    """A payload's parts."""
    sealer = ReplySealer(KEY, CONTEXT)
    sealed = sealer.whole(data[: FRAME * 2])
    opener = ReplyOpener(KEY, CONTEXT)
    try:
        parts = opener.push(sealed)
        opener.finish()
    except SiloError as error:
        _expect(error, {"payload_failure", "truncated"})
        return
    assert [one.kind for one in parts][:1] == [1]
    assert [one.kind for one in parts][-1:] == [3]
    assert b"".join(part(one.kind, one.data) for one in parts) == data[: FRAME * 2]


# --- what is kept ---


def keyring_document(data: bytes) -> None:
    """A keyring's document, signed as it is by the admin key that is pinned."""
    text = data.decode(errors="replace")
    mark = ADMIN.public.fingerprint
    signature = ADMIN.signer.sign(labels.KEYRING, text.encode())
    signed = SignedKeyring(document=text, signer=b32(mark), signature=b64(signature))
    try:
        read = verify_keyring(signed, SILO, mark)
    except SiloError as error:
        _expect(error, {"header_failure", "wrong_silo", "stale", "forged"})
        return
    assert read.document.version == 1
    assert read.identity
    assert read.vault.fingerprint
    assert read.seen
    read.extras("a" * 26)


PLACE = Place(SILO, b"u" * 16, 1, NO_HASH, b"t" * 16, NO_HASH, 1, b"i" * 16, NOW)


def receipt(data: bytes) -> None:
    """A receipt, and what is said in it signed as it is: one spelling."""
    says({"forged"}, lambda: read_receipt(data, IDENTITY.public))
    try:
        read = read_receipt(data + IDENTITY.sign(labels.RECEIPT, data), IDENTITY.public)
    except SiloError as error:
        _expect(error, {"forged"})
        return
    numbers = [number.to_bytes(8, "big") for number in (read.index, read.time)]
    fields = (read.silo, read.user, numbers[0], read.core_hash, read.entry_hash, b"".join(read.recipients), numbers[1])
    assert pack(labels.RECEIPT, *fields) == data


def core(data: bytes) -> None:
    """A core, and one whose place and frames are committed to as they are: its place has one spelling."""
    codes = {"truncated", "header_failure", "payload_failure", "too_large"}
    says(codes, lambda: open_core(data, KEY))
    spelled = PLACE.spell()
    start = data[: len(spelled)].ljust(len(spelled), b"\0")
    head = start + commitment(KEY, start)
    sealed = head + seal_whole(frame_key(KEY, head_hash(head)), head_hash(head), data[len(spelled) :])
    try:
        content = open_core(sealed, KEY)
    except SiloError as error:
        _expect(error, codes)
        return
    assert read_place(sealed).spell() == start
    assert content == data[len(spelled) :]


def enrolment(data: bytes) -> None:
    """A device's statement, signed by the key in it where it is ours: one spelling."""
    try:
        read = read_enrolment(data, IDENTITY.sign(labels.ENROLMENT, data))
    except SiloError as error:
        _expect(error, {"forged"})
        return
    assert read.statement() == data


def packed(data: bytes) -> None:
    """pack has one spelling."""
    for count in range(4):
        with suppress(ValueError):
            assert pack("x", *unpack("x", data, count)) == data


def export_lines(data: bytes) -> None:
    """An export, opened with the right admin key."""
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        file = Path(folder) / "export"
        file.write_bytes(data)
        codes = {"bad_export", "bad_file", "no_match", "wrong_silo", "forged", "header_failure"}
        says(codes, lambda: recover(file, AdminKey(ADMIN_SEED), Path(folder) / "out"))


def key_file(data: bytes) -> None:
    """The text of an admin key's file, without a passphrase's slow ways."""
    text = data.decode(errors="replace")
    if "locked" not in text:
        says({"bad_key_file"}, lambda: read_admin_key(text))


def link(data: bytes) -> None:
    """A setup link."""
    says({"bad_link"}, lambda: parse_link(data.decode(errors="replace")))


def planted(data: bytes) -> None:
    """The control: a fault behind five comparisons, which must be found."""
    with suppress(ValueError):
        value = read_json(data, messages.AskLog)
        assert value.limit != 4321, "planted"


# --- seeds ---

SCRATCH = "/dev/shm" if Path("/dev/shm").is_dir() else None
EXPORT = Path(os.environ.get("HOSTILE_EXPORT", "/nowhere"))
"""A folder with a real export in `export`, and the admin key's seed in `admin`."""
ADMIN_SEED = (EXPORT / "admin").read_bytes() if EXPORT.is_dir() else ADMIN.seed


def _seeds() -> dict[str, list[bytes]]:
    sealed = seal_record(PLACE, b"content", [recipient_of(KEY)])
    stated = Enrolment(SILO, b"u" * 16, b"d" * 16, IDENTITY.public, recipient_of(KEY).public, NOW)
    first = first_keyring(ADMIN, "alice", SILO, IDENTITY.public, NOW)
    head = b"POST /silo/1/abc?x=y HTTP/1.1\r\nhost: [::1]:6006\r\ncontent-length: 5\r\nx: \xff"
    texts = [b'{"a":[1,-2.5e3,true,null,"\\u00e9\\ud83d\\ude00"],"b":{}}', b"[]", b"1e5", b'"x"', b"-0.0"]
    turn = {"messages": [{"role": "user", "content": "x"}], "model": None, "options": {"stop": ["x"], "seed": 1}}
    bodies = [b"{}", b'{"after":0,"limit":1}', write_json(turn), first.document.encode(), write_json(first)]
    whole = b"\x00" + (256).to_bytes(2, "big") + (3).to_bytes(8, "big") + b"abc".ljust(248, b"\0")
    lines = (EXPORT / "export").read_bytes() if EXPORT.is_dir() else b'{"type":"silo"}\n'
    parts = part(1, b"{}") + part(2, b"abc") + part(3, b"{}")
    return {
        "strict_json": texts,
        "message": [bytes([at]) + body for at in range(len(KINDS)) for body in bodies],
        "prefix": [b"\x01" + SEALED_KEY + bytes(2064), b"\x02", b""],
        "header": [_honest_header()],
        "http_head": [head, b"GET / HTTP/1.0\r\ntransfer-encoding: chunked", b"GET / HTTP/1.1\r\nHost: a"],
        "keys_answer": [
            state_keys(IDENTITY, SILO, [TRANSPORT.destination], NOW, None),
            msgspec.json.decode(state_keys(IDENTITY, SILO, [TRANSPORT.destination], NOW, None))["statement"].encode(),
        ],
        "whole_frames": [whole, seal_whole(KEY, CONTEXT, b"abc")],
        "reply_frames": [b"\x00" + (7).to_bytes(2, "big") + (3).to_bytes(4, "big") + b"abc"],
        "reply_parts": [parts],
        "keyring_document": [first.document.encode()],
        "receipt": [make_receipt(IDENTITY, sealed)[:-64]],
        "core": [sealed.core, PLACE.spell() + b"content"],
        "enrolment": [stated.statement()],
        "packed": [pack("x"), pack("x", b"a", b""), pack("x", b"", b"b", b"c" * 300)],
        "export_lines": [lines, lines.split(b"\n")[0] + b"\n"],
        "key_file": [write_admin_key(ADMIN, "alice").encode()],
        "planted": [b'{"after":0,"limit":4320}'],
        "link": [
            b"http://localhost:6006/#setup." + b64(bytes(80)).encode(),
            b"https://[::1]/#setup." + new_id().encode(),
        ],
    }


TARGETS: dict[str, Callable[[bytes], None]] = {name: globals()[name] for name in _seeds()}


def by_chance(name: str, seconds: float, seed: int) -> int:
    """Bends the seeds without a guide, for so long. How many inputs there were."""
    from tests.hostile.cases import bend_bytes

    target, seeds, end, count = TARGETS[name], _seeds()[name], time.monotonic() + seconds, 0
    chance = random.Random(seed)
    while time.monotonic() < end:
        data = chance.choice(seeds)
        for _ in range(chance.randrange(4)):
            data = bend_bytes(data, chance, chance.choice(seeds))
        try:
            target(data)
        except Exception as error:
            raise AssertionError(f"{name}: {data!r}") from error
        count += 1
    return count


def main() -> None:
    """See above."""
    name, place, *options = sys.argv[1:]
    if Path(place).is_file():
        TARGETS[name](Path(place).read_bytes())
        return
    corpus = Path(place) / name
    corpus.mkdir(exist_ok=True)
    for number, data in enumerate(_seeds()[name]):
        (corpus / f"seed{number}").write_bytes(data)
        TARGETS[name](data)
    import atheris  # pyright: ignore[reportMissingImports]

    atheris.Setup([sys.argv[0], str(corpus), f"-artifact_prefix={place}/{name}-", *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
