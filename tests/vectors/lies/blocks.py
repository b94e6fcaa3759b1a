"""Lies about the building blocks: pack, spelling, JSON, padding, keys, HPKE, signatures (SPEC 2, 3.3)."""

import hashlib
import json
from collections.abc import Callable

from form import Fields
from nacl import bindings

from lies import (
    ACCOUNT_SEED,
    ADMIN,
    DEVICE_KEY,
    IDENTITY,
    MINUS_ONE_POINT,
    NOW,
    ONE_POINT,
    ORDER_8_POINT,
    SILO,
    USER,
    ZERO_POINT,
    flip,
    lie,
    low_order,
    public,
    recipient,
    secret,
    tell,
)
from silo.crypto import labels
from silo.crypto.encoding import b32, b64, padme, unb64
from silo.crypto.keys import derive, fingerprint, setup_bearer, setup_hash, spoken
from silo.crypto.labels import digest, pack

# --- pack (SPEC 2.2) ---

FIELDS = (b"pelican", b"", secret("third field"))
PACKED = pack(labels.LOG_ENTRY, *FIELDS)


def _pack(data: bytes, label: str = labels.LOG_ENTRY, count: int = 3) -> Fields:
    return [("label", label), ("count", count), ("bytes", data)]


@lie("pack", "success", "three fields, the second one empty")
def pack_three_fields() -> Fields:
    fields: Fields = [("field", field) for field in FIELDS]
    return [*_pack(PACKED), *fields, ("digest", digest(labels.LOG_ENTRY, *FIELDS))]


@lie("pack", "success", "the last field is empty")
def pack_empty_last() -> Fields:
    return [*_pack(pack(labels.LOG_ENTRY, b"pelican", b""), count=2), ("field", b"pelican"), ("field", b"")]


for _name, _lie, _fields in (
    ("other-label", "the label of another purpose", _pack(pack(labels.RECEIPT, *FIELDS))),
    ("longer-label", "the label goes on", _pack(pack(labels.LOG_ENTRY + " hash", *FIELDS))),
    ("no-label", "the fields alone", _pack(PACKED[4 + len(labels.LOG_ENTRY) :])),
    ("one-field-less", "the last field is missing", _pack(pack(labels.LOG_ENTRY, *FIELDS[:2]))),
    ("one-field-more", "a fourth field", _pack(pack(labels.LOG_ENTRY, *FIELDS, b""))),
    ("byte-after", "a byte after the last field", _pack(PACKED + b"\0")),
    ("byte-before", "a byte before the label", _pack(b"\0" + PACKED)),
    ("cut-in-field", "the last field ends too early", _pack(PACKED[:-1])),
    ("cut-in-length", "the bytes end inside a length", _pack(PACKED[: -len(FIELDS[2]) - 1])),
    ("length-too-large", "a length of 2^32 - 1", _pack(PACKED[:-36] + b"\xff" * 4 + PACKED[-32:])),
    ("little-endian", "lengths are little-endian", _pack(PACKED[3::-1] + PACKED[4:])),
):
    tell(f"pack-{_name}", "pack", "refused", _lie, lambda fields=_fields: fields)


# --- spelling (SPEC 2.3) ---

_ID, _HASH, _BLOB = b32(secret("id")[:16]), b32(secret("hash")), b64(secret("blob") + b"\xfb\xff")


def _spelled(kind: str, text: str, data: bytes | None = None) -> Fields:
    fields: Fields = [("kind", kind), ("string", json.dumps(text))]
    return [*fields, ("bytes", data)] if data is not None else fields


def _next(text: str) -> str:
    # The same bytes, with a bit set among those that only fill up the last letter.
    letters = "abcdefghijklmnopqrstuvwxyz234567" if text.islower() else "".join(map(chr, _URLSAFE))
    return text[:-1] + letters[letters.index(text[-1]) + 1]


_URLSAFE = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

for _name, _expect, _lie, _fields in (
    ("id", "success", "16 bytes in base32", _spelled("id", _ID, secret("id")[:16])),
    ("hash", "success", "32 bytes in base32", _spelled("hash", _HASH, secret("hash"))),
    ("blob", "success", "34 bytes in base64url", _spelled("blob", _BLOB, secret("blob") + b"\xfb\xff")),
    ("blob-empty", "success", "no bytes in base64url", _spelled("blob", "", b"")),
    ("id-upper-case", "refused", "base32 in upper case", _spelled("id", _ID.upper())),
    ("id-padded", "refused", "base32 with its padding", _spelled("id", _ID + "======")),
    ("id-spare-bits", "refused", "bits that only fill up the last letter are set", _spelled("id", _next(_ID))),
    ("id-line-feed", "refused", "a line feed after the last letter", _spelled("id", _ID + "\n")),
    ("id-short", "refused", "15 bytes where 16 belong", _spelled("id", b32(secret("id")[:15]))),
    ("id-long", "refused", "32 bytes where 16 belong", _spelled("id", _HASH)),
    ("id-foreign-letter", "refused", "a 0 where base32 has no such letter", _spelled("id", "0" + _ID[1:])),
    ("id-wide-letter", "refused", "a letter that only becomes ASCII in upper case", _spelled("id", "ı" + _ID[1:])),
    (
        "hash-spare-bits",
        "refused",
        "bits that only fill up the last letter of a hash are set",
        _spelled("hash", _next(_HASH)),
    ),
    ("hash-short", "refused", "31 bytes where 32 belong", _spelled("hash", b32(secret("hash")[:31]))),
    ("hash-hex", "refused", "32 bytes in hexadecimal", _spelled("hash", secret("hash").hex())),
    ("blob-padded", "refused", "base64url with its padding", _spelled("blob", _BLOB + "==")),
    (
        "blob-spare-bits",
        "refused",
        "bits that only fill up the last letter of a blob are set",
        _spelled("blob", _next(_BLOB)),
    ),
    ("blob-other-alphabet", "refused", "base64 with + and /", _spelled("blob", "+/+/")),
    ("blob-half-letter", "refused", "one letter over, which spells no byte", _spelled("blob", _BLOB[:-1])),
    ("blob-line-feed", "refused", "a line feed after the last letter of a blob", _spelled("blob", _BLOB + "\n")),
    ("blob-space", "refused", "a space in the middle", _spelled("blob", "AAAA AAAA")),
):
    tell(f"spelling-{_name}", "spelling", _expect, _lie, lambda fields=_fields: fields)


# --- JSON (SPEC 2.3) ---

_AT = b'{"at":7,"hash":"%s"}' % _HASH.encode()


def _json(data: bytes, shape: str = "any") -> Fields:
    return [("shape", shape), ("bytes", data)]


for _name, _expect, _lie, _fields in (
    ("seen", "success", "a version and a hash, as a header names them", _json(_AT, "seen")),
    ("largest-number", "success", "2^53 - 1", _json(b"[9007199254740991,-9007199254740991]")),
    ("surrogate-pair", "success", "a pair of surrogates, escaped", _json(b'["\\ud83e\\udeb6"]')),
    ("white-space", "success", "white space around the value", _json(b' \t\r\n{"a" : 1}\n')),
    ("deep", "success", "64 lists inside one another", _json(b"[" * 64 + b"]" * 64)),
    ("brackets", "success", "many lists, but beside one another", _json(b"[" + b"[]," * 99 + b"[]]")),
    ("too-deep", "refused", "65 lists inside one another", _json(b"[" * 65 + b"]" * 65)),
    ("objects-too-deep", "refused", "65 objects inside one another", _json(b'{"a":' * 64 + b"{}" + b"}" * 64)),
    ("key-twice", "refused", "a key stands twice", _json(b'{"a":1,"a":1}')),
    ("key-twice-escaped", "refused", "a key stands twice, once escaped", _json(b'{"a":1,"\\u0061":1}')),
    ("key-twice-inside", "refused", "a key stands twice in an inner object", _json(b'[{"b":{"a":1,"a":2}}]')),
    ("unknown-field", "refused", "a field that it does not know", _json(_AT[:-1] + b',"more":null}', "seen")),
    ("missing-field", "refused", "a missing field", _json(b'{"at":7}', "seen")),
    ("null-field", "refused", "null where a number belongs", _json(_AT.replace(b"7", b"null", 1), "seen")),
    ("number-as-text", "refused", "a number in quotes", _json(_AT.replace(b"7", b'"7"', 1), "seen")),
    ("number-with-point", "refused", "a whole number with a fraction of zero", _json(b'{"at":7.0' + _AT[7:], "seen")),
    ("number-with-exponent", "refused", "a whole number with an exponent", _json(b'{"at":7e0' + _AT[7:], "seen")),
    ("negative-number", "refused", "a version below zero", _json(b'{"at":-7' + _AT[7:], "seen")),
    ("boolean-as-number", "refused", "true where a number belongs", _json(b'{"at":true' + _AT[7:], "seen")),
    ("nan", "refused", "NaN", _json(b"[NaN]")),
    ("infinity", "refused", "Infinity", _json(b"[Infinity]")),
    ("negative-infinity", "refused", "-Infinity", _json(b"[-Infinity]")),
    ("overflow", "refused", "a number that becomes infinite", _json(b"[1e400]")),
    ("2-to-the-53", "refused", "2^53", _json(b"[9007199254740992]")),
    ("minus-2-to-the-53", "refused", "-2^53", _json(b"[-9007199254740992]")),
    ("many-digits", "refused", "a whole number of a hundred digits", _json(b"[" + b"9" * 100 + b"]")),
    ("lone-high-surrogate", "refused", "a high surrogate alone", _json(b'["\\ud83e"]')),
    ("lone-low-surrogate", "refused", "a low surrogate alone", _json(b'["\\udeb6"]')),
    ("lone-surrogate-key", "refused", "a lone surrogate in a key", _json(b'{"\\udfff":1}')),
    ("surrogates-swapped", "refused", "a low surrogate before the high one", _json(b'["\\udeb6\\ud83e"]')),
    ("raw-surrogate", "refused", "a surrogate in UTF-8, which has none", _json(b'["\xed\xa0\xbe"]')),
    ("overlong", "refused", "a letter in two bytes where one spells it", _json(b'["\xc1\xa1"]')),
    ("latin-1", "refused", "a text in Latin-1", _json('["é"]'.encode("latin-1"))),
    ("utf-16", "refused", "a text in UTF-16", _json("[1]".encode("utf-16"))),
    ("bom", "refused", "a byte order mark", _json(b"\xef\xbb\xbf[1]")),
    ("text-after", "refused", "a text after the value", _json(b"{} x")),
    ("value-after", "refused", "a second value", _json(b"{}{}")),
    ("nul-after", "refused", "a NUL after the value", _json(b"{}\0")),
    ("empty", "refused", "no value", _json(b"")),
    ("comment", "refused", "a comment", _json(b"[1 /* one */]")),
    ("comma-after", "refused", "a comma after the last element", _json(b"[1,]")),
    ("single-quotes", "refused", "single quotes", _json(b"['a']")),
    ("line-feed-in-string", "refused", "a line feed in a string, not escaped", _json(b'["\n"]')),
    ("leading-zero", "refused", "a number that begins with zero", _json(b"[01]")),
):
    tell(f"json-{_name}", "json", _expect, _lie, lambda fields=_fields: fields)


# --- padding (SPEC 3.3) ---


@lie("padme", "success", "sizes and what they are padded to")
def padme_sizes() -> Fields:
    sizes = [0, 1, 255, 256, 257, 263, 264, 265, 511, 512, 513, 1000, 1023, 1024, 1025, 65_535, 65_536, 65_537]
    sizes += [1_000_000, 2**24 - 1, 2**24, 2**24 + 1]
    return [("sizes", " ".join(map(str, sizes))), ("padded", " ".join(str(padme(size)) for size in sizes))]


# --- keys (SPEC 2.4, 2.5) ---

# Of draft-connolly-cfrg-xwing-kem, appendix C, the first: others have computed its public key too.
DRAFT_SEED = bytes.fromhex("7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26")


@lie("xwing-seed", "success", "the first test vector of the X-Wing draft: seed and public key")
def xwing_seed() -> Fields:
    expanded = hashlib.shake_256(DRAFT_SEED).digest(96)
    return [
        ("seed", DRAFT_SEED),
        ("mlkem-seed", expanded[:64]),
        ("x25519-private", expanded[64:]),
        ("public", public(DRAFT_SEED)),
        ("fingerprint", fingerprint(public(DRAFT_SEED))),
    ]


@lie("xwing-seed", "refused", "the public key is what HPKE libraries make by deriveKeyPair, not the seed's own")
def xwing_seed_derive_key_pair() -> Fields:
    return [("seed", DRAFT_SEED), ("public", public(hashlib.shake_256(DRAFT_SEED).digest(32)))]


@lie("xwing-seed", "refused", "the halves of the public key have changed places")
def xwing_seed_halves_swapped() -> Fields:
    key = public(DRAFT_SEED)
    return [("seed", DRAFT_SEED), ("public", key[1184:] + key[:1184])]


_KEY = public(ACCOUNT_SEED)
for _name, _expect, _lie, _public in (
    ("good", "success", "a public key", _KEY),
    ("short", "refused", "a byte is missing", _KEY[:-1]),
    ("long", "refused", "a byte too many", _KEY + b"\0"),
    ("mlkem-alone", "refused", "the ML-KEM half alone", _KEY[:1184]),
    # Coefficients have 12 bits, three bytes hold two of them, and all are below q = 3329.
    ("coefficient-q", "refused", "the first coefficient is q", bytes([0x01, _KEY[1] & 0xF0 | 0xD]) + _KEY[2:]),
    ("coefficient-4095", "refused", "the last coefficient is 4095", _KEY[:1150] + b"\xff\xff" + _KEY[1152:]),
    ("x25519-zero", "refused", "the X25519 point is 0", low_order(_KEY, ZERO_POINT)),
    ("x25519-one", "refused", "the X25519 point is 1", low_order(_KEY, ONE_POINT)),
    ("x25519-minus-one", "refused", "the X25519 point is p - 1", low_order(_KEY, MINUS_ONE_POINT)),
    ("x25519-order-8", "refused", "the X25519 point has order 8", low_order(_KEY, ORDER_8_POINT)),
    (
        "x25519-zero-again",
        "refused",
        "the X25519 point is p, another spelling of 0",
        low_order(_KEY, (2**255 - 19).to_bytes(32, "little")),
    ),
):
    tell(f"xwing-public-{_name}", "xwing-public", _expect, _lie, lambda key=_public: [("public", key)])


@lie("fingerprint", "success", "of an Ed25519 key, an X-Wing key, an admin key and a device")
def fingerprint_of_keys() -> Fields:
    return [
        ("sign", ADMIN.public.sign),
        ("seal", ADMIN.public.seal),
        ("sign-fingerprint", fingerprint(ADMIN.public.sign)),
        ("seal-fingerprint", fingerprint(ADMIN.public.seal)),
        ("admin-fingerprint", ADMIN.public.fingerprint),
        ("device-fingerprint", digest(labels.DEVICE, ADMIN.public.sign, ADMIN.public.seal)),
        ("spoken", spoken(ADMIN.public.fingerprint)),
        ("key-id", b32(fingerprint(ADMIN.public.seal)[:8])),
    ]


@lie("fingerprint", "success", "of a holder that never signs: an empty field stands for its Ed25519 key")
def fingerprint_without_sign() -> Fields:
    mark = digest(labels.ADMIN, b"", ADMIN.public.seal)
    return [
        ("sign", b""),
        ("seal", ADMIN.public.seal),
        ("seal-fingerprint", fingerprint(ADMIN.public.seal)),
        ("admin-fingerprint", mark),
        ("spoken", spoken(mark)),
    ]


@lie("admin", "success", "both keys from an admin key's one seed")
def admin_seed() -> Fields:
    return [
        ("seed", secret("admin")),
        ("sign-seed", derive(secret("admin"), labels.ADMIN_SIGN)),
        ("seal-seed", derive(secret("admin"), labels.ADMIN_SEAL)),
        ("sign", ADMIN.public.sign),
        ("seal", ADMIN.public.seal),
    ]


@lie("derive", "success", "with two fields and a salt")
def derive_with_salt() -> Fields:
    salt = secret("salt")
    return [
        ("secret", secret("input")),
        ("label", labels.DOOR_REQUEST),
        ("field", b"one"),
        ("field", b""),
        ("salt", salt),
        ("derived", derive(secret("input"), labels.DOOR_REQUEST, b"one", b"", salt=salt)),
    ]


@lie("derive", "success", "without a field and without a salt")
def derive_alone() -> Fields:
    return [
        ("secret", secret("input")),
        ("label", labels.DOOR_REQUEST),
        ("derived", derive(secret("input"), labels.DOOR_REQUEST)),
    ]


@lie("setup", "success", "a setup link's secret, what is sent of it, what the silo keeps")
def setup_link() -> Fields:
    bearer = setup_bearer(secret("setup"))
    return [("secret", secret("setup")), ("bearer", bearer), ("hash", setup_hash(bearer))]


# --- HPKE (SPEC 2.4) ---

_INFO = (SILO, USER)


def _hpke_fields(sealed: bytes, seed: bytes = ACCOUNT_SEED, label: str = labels.RECORD_WRAP) -> Fields:
    return [("seed", seed), ("label", label), ("field", SILO), ("field", USER), ("sealed", sealed)]


def _sealed(label: str = labels.RECORD_WRAP, *fields: bytes) -> bytes:
    return recipient(ACCOUNT_SEED).seal(b"pelican", label, *(fields or _INFO))


def _flipped(at: int) -> Fields:
    return _hpke_fields(flip(_sealed(), at))


# What the page's library sealed (appliance/web/src/crypto/hpke.ts): no other paper has vectors of this suite.
_SEALED_BY_THE_PAGE = (
    "-o_KS5DZuPP8wH71Vh2NivePqROKslaxBkGd20JHFtapbe-tEE3IrFHM-ngs5sWVn5xbqTQehAIQYbjkZzjARt3M-"
    "oRhPMH0tN4EWMazzMzKhApISYWl0mbVr63dhCY0Yc49TZMiF87ilzns5Sn_Llx9RotxfLWEVvMXONyw7e3ByIaYM2NBIPALudezs"
    "QCEqbh0je2kRQsHJEQrlKun4nXwrFXuufhMSyxuUyJHGNMFB6WiGVHht-fsdetXQSJkXWevceSHSb4IzyESD-"
    "VwZJY5LR6QH4mTjlEfQg1iuxJ7dE6O5ZZQhQCrIoEC6GZeZaQrAZFGWTNlzFy0kCMTsWN5XIpYZQQ-sK-qH4X-r4-"
    "gKfljLlKJj1-jZkXhgF_9RlW4rA1exWKXio5MvtjyHhcwVmtr0_H7FmSVMgUUXAW-"
    "2T0fYVCZmNMvGGJcdrN5QFfn0u5GUKDGkOzdB9iTTebYmjBTxD_b2msbcFIUTJvT98GkvQcn_Gktw4-"
    "kDkud6bxm4RLhOny0gYWtxhz7qI0BzRhoa09FDmlyYsSNhbqdVBxDIxuFEXp1T2_-x9agz5sTwEToL25m22mSWwG32-"
    "IYlKIH0S5VjZ6NKvPUPHB2bslC5wDrUHXs8BmhdmJLVNysmAFk9wsImonBijFB0KxTgPokof01MBQFuXNB3ZrvVKpwQLqVB2oceF"
    "4TYij8r1YIRDidfsvxnqn7Pot33ytDP0wyqSHIT92nEEhKDrHwtx_JSAE3XVW8JxPCAFH_GmzgdK67zST1mAIhz1Yp3vX19cO8Y5"
    "8S72dwpxnEBDw5z3UV7K2QxLUOoFtt_FCDnO1e7D8rPI_ntPOuz0WHFZrfiwFa8D2_yRlzNhRN1i9GTljLdWgfL6-"
    "PeTMiVxyj3IxxSI4C3dvBM2oQSrF-0vs5MWrKxBNo4USD1niHbpUNKvaHX1-"
    "QWORmM66HNsTRYEKJg4nFEoe034ENQsK7HdbHvShqUvarRiBrnwxJ7WjgTZ4XqwUfofTscOeEin2htp98WYPQGuqq8Jbe639c2kQ"
    "W_EiCUEXYLvyAbDMT8WtHY1ZtExP-aSSUJcrCRk3Idkyba2kW435G-"
    "VUIECueHXETCO2dap9IAL4nx5DB0HT25NJ_j2sztgN6yKwlgAI0bAivRdmrVyPzmZEk5gXhbejTd5CG_pT1ufeMbfD-"
    "YNuD7N0Wp8eNIOQWuF2wP5MAfSn9qYR694urRP-kgn1bwuvdO6D7GhalwHawbgT2fSEvtJYc03zyXx_QyEpy0BTurM4Y16f1ezUQ"
    "tOeQydTsbePEDPVlbUb0C-A2mhDTAqMbizRcdvoBko5IpVIw3DACGcUTt3S6SptWd99KFMirE8GW_rPgJ46M-O-"
    "qIrsrthXX0So6zVLMmNH0MlYXkW275UanEMzffFo8LihjMKENAx_8ADCb-"
    "fRr35_zp0oXFStTVKbsNQIkz_BuDkLw2kb6ilZP_QMh_fvHDol-VhgIc0F_02pxUPxxxWT451C7w9yPA0NYDFG7"
)


@lie("hpke", "success", "a word sealed by the other library")
def hpke_sealed_by_the_page() -> Fields:
    return [*_hpke_fields(unb64(_SEALED_BY_THE_PAGE)), ("plaintext", b"pelican")]


@lie("hpke", "success", "a word sealed under a label and two fields")
def hpke_sealed() -> Fields:
    return [*_hpke_fields(_sealed()), ("plaintext", b"pelican")]


def _with_point(point: bytes) -> Fields:
    # enc is the ML-KEM ciphertext (1,088) and the X25519 point (32).
    sealed = _sealed()
    return _hpke_fields(sealed[:1088] + point + sealed[1120:])


for _name, _lie, _make in (
    ("other-key", "sealed to another key", lambda: _hpke_fields(_sealed(), secret("nobody"))),
    ("other-label", "sealed under another label", lambda: _hpke_fields(_sealed(labels.DOOR_HEADER))),
    ("other-field", "sealed under another field", lambda: _hpke_fields(_sealed(labels.RECORD_WRAP, SILO, SILO))),
    (
        "moved-boundary",
        "the same bytes under the label, cut into fields elsewhere",
        lambda: _hpke_fields(_sealed(labels.RECORD_WRAP, SILO + USER[:1], USER[1:])),
    ),
    ("flipped-mlkem", "a changed byte in the ML-KEM ciphertext, which decapsulates to noise", lambda: _flipped(9)),
    ("flipped-x25519", "a changed byte in the X25519 point", lambda: _flipped(1090)),
    ("flipped-text", "a changed byte in the ciphertext", lambda: _flipped(1122)),
    ("flipped-tag", "a changed byte in the tag", lambda: _flipped(-1)),
    ("zero-point", "the X25519 point is 0", lambda: _with_point(ZERO_POINT)),
    ("order-8-point", "the X25519 point has order 8", lambda: _with_point(ORDER_8_POINT)),
    ("cut-in-enc", "it ends inside enc", lambda: _hpke_fields(_sealed()[:700])),
    ("cut-in-tag", "it ends inside the tag", lambda: _hpke_fields(_sealed()[:1130])),
    ("empty", "nothing at all", lambda: _hpke_fields(b"")),
):
    tell(f"hpke-{_name}", "hpke", "no match", _lie, _make)


# --- signatures (SPEC 2.4) ---

_ORDER = 2**252 + 27742317777372353535851937790883648493
_PRIME = 2**255 - 19
_SAID = (b"pelican", b"heron")
_ZERO_SIGNER = (1).to_bytes(32, "little")
"""The neutral point as a public key: for lax verifiers it has signed everything."""


def _signed(signature: bytes, key: bytes = DEVICE_KEY.public, label: str = labels.TURN) -> Fields:
    fields: Fields = [("field", field) for field in _SAID]
    return [("public", key), ("label", label), *fields, ("signature", signature)]


def _base(scalar: int) -> bytes:
    return bindings.crypto_scalarmult_ed25519_base_noclamp((scalar % _ORDER).to_bytes(32, "little"))


def _raw_challenge(point: bytes, key: bytes) -> int:
    return int.from_bytes(hashlib.sha512(point + key + pack(labels.TURN, *_SAID)).digest(), "little")


def _challenge(point: bytes, key: bytes) -> int:
    return _raw_challenge(point, key) % _ORDER


def _scalar(number: int) -> bytes:
    return number.to_bytes(32, "little")


def _good() -> bytes:
    return DEVICE_KEY.sign(labels.TURN, *_SAID)


def _unreduced() -> Fields:
    good = _good()
    return _signed(good[:32] + _scalar(int.from_bytes(good[32:], "little") + _ORDER))


def _of_neutral(key: bytes) -> Fields:
    nonce = int.from_bytes(secret("nonce"), "little") % _ORDER
    return _signed(_base(nonce) + _scalar(nonce), key)


def _of_order_8() -> Fields:
    # With k a multiple of 8 the key vanishes from the equation, so that nobody's signature fits it.
    nonce = next(n for n in range(1, 1000) if _challenge(_base(n), _ORDER_8) % 8 == 0)
    return _signed(_base(nonce) + _scalar(nonce), _ORDER_8)


def _neutral_nonce() -> Fields:
    private = int.from_bytes(secret("scalar"), "little") % _ORDER
    key = _base(private)
    return _signed(_ZERO_SIGNER + _scalar(_challenge(_ZERO_SIGNER, key) * private % _ORDER), key)


_ORDER_8 = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")


def _mixed(private: int) -> bytes:
    """A public key with a part of order 8."""
    return bindings.crypto_core_ed25519_add(_base(private), _ORDER_8)


def _by_mixed(fits: Callable[[int, int], bool]) -> Fields:
    """By a key with a part of order 8, with the first nonce whose challenge, reduced and not, is as wanted. Without
    that part the equation holds; with it, exactly where 8 divides the challenge."""
    private = int.from_bytes(secret("scalar"), "little") % _ORDER
    key = _mixed(private)
    for nonce in range(1, 1000):
        point = _base(nonce)
        reduced, raw = _challenge(point, key), _raw_challenge(point, key)
        if fits(reduced % 8, raw % 8):
            return _signed(point + _scalar((nonce + reduced * private) % _ORDER), key)
    raise AssertionError


def _order_8_nonce() -> Fields:
    # R is a point of order 8, and the key's part of order 8 takes it away again.
    for private in range(1, 1000):
        key = _mixed(private)
        challenge = _challenge(_ORDER_8, key)
        if challenge % 8 == 7:
            return _signed(_ORDER_8 + _scalar(challenge * private % _ORDER), key)
    raise AssertionError


for _name, _expect, _lie, _make in (
    ("good", "success", "over a label and two fields", lambda: _signed(_good())),
    ("heads", "success", "the identity over the heads of all users, as in an export's last line", lambda: _heads()),
    (
        "other-label",
        "forged",
        "over the same fields under another label",
        lambda: _signed(DEVICE_KEY.sign("x", *_SAID)),
    ),
    ("other-key", "forged", "by another key", lambda: _signed(IDENTITY.sign(labels.TURN, *_SAID))),
    (
        "fields-joined",
        "forged",
        "over the same bytes in one field",
        lambda: _signed(DEVICE_KEY.sign(labels.TURN, b"".join(_SAID))),
    ),
    ("flipped", "forged", "a changed byte", lambda: _signed(flip(_good(), 3))),
    ("short", "forged", "63 bytes", lambda: _signed(_good()[:63])),
    ("long", "forged", "65 bytes", lambda: _signed(_good() + b"\0")),
    ("zeros", "forged", "64 zeros", lambda: _signed(bytes(64))),
    ("unreduced", "forged", "the group's order is added to S, which lax verifiers accept", _unreduced),
    (
        "neutral-key",
        "forged",
        "the key is the neutral point, for which anybody signs",
        lambda: _of_neutral(_ZERO_SIGNER),
    ),
    (
        "neutral-key-again",
        "forged",
        "the key is the neutral point in a second spelling",
        lambda: _of_neutral((_PRIME + 1).to_bytes(32, "little")),
    ),
    ("order-8-key", "forged", "the key has order 8", _of_order_8),
    ("neutral-nonce", "forged", "R is the neutral point, which lax verifiers accept", _neutral_nonce),
    ("key-off-curve", "forged", "the key is no point of the curve", lambda: _signed(_good(), _scalar(2))),
    ("order-8-nonce", "forged", "R has order 8, and yet the equation holds", _order_8_nonce),
    (
        "mixed-key",
        "success",
        "by a key with a part of order 8: the equation holds as it stands",
        lambda: _by_mixed(lambda reduced, raw: reduced == 0 != raw),
    ),
    (
        "challenge-not-reduced",
        "forged",
        "by a key with a part of order 8, and fits only where k is not reduced",
        lambda: _by_mixed(lambda reduced, raw: raw == 0 != reduced),
    ),
    (
        "cofactored",
        "forged",
        "fits only where both sides are multiplied by the cofactor",
        lambda: _by_mixed(lambda reduced, _: reduced != 0),
    ),
):
    tell(f"signature-{_name}", "signature", _expect, _lie, _make)


def _heads() -> Fields:
    stated = {"silo": b32(SILO), "time": NOW, "heads": [{"user": b32(USER), "at": 7, "hash": b32(secret("head"))}]}
    text = json.dumps(stated, separators=(",", ":")).encode()
    return [
        ("public", IDENTITY.public),
        ("label", labels.HEADS),
        ("field", text),
        ("signature", IDENTITY.sign(labels.HEADS, text)),
    ]
