"""Reads what is needed of a GGUF file's header: enough to refuse a broken file and to guard its control tokens.

The format is described in ggml's docs/gguf.md; all numbers are little-endian. Weights are not looked at.
"""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # value type -> bytes
_U32, _STRING, _ARRAY, _U64 = 4, 8, 9, 10
_CONTROL = 3  # of tokenizer.ggml.token_type
_MOST = 1 << 22  # items; more than any vocabulary has


class NotGguf(Exception):
    """The file is not a GGUF file that can be read. The text says what is wrong, in words fit for an operator."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a model file says about itself."""

    context: int
    """Tokens it was trained to hold; 0 when it does not say."""
    control: tuple[str, ...]
    """Spellings of its control tokens, such as the ends of a turn."""
    longest: int
    """Bytes that its longest token stands for, or a little more; 0 when it lists no tokens."""


class _Cursor:
    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.at = 0

    def take(self, layout: str) -> int:
        (value,) = struct.unpack_from(layout, self.data, self.at)
        self.at += struct.calcsize(layout)
        return value

    def string(self) -> bytes:
        size = self.take("<Q")
        end = self.at + size
        if end > len(self.data):
            raise NotGguf("it ends in the middle of its header")
        value = self.data[self.at : end]
        self.at = end
        return value

    def skip(self, size: int) -> None:
        self.at += size
        if self.at > len(self.data):
            raise NotGguf("it ends in the middle of its header")

    def array(self) -> list[bytes] | tuple[int, int, int]:
        """Strings as a list; numbers as (type, count, where they begin)."""
        kind, count = self.take("<I"), self.take("<Q")
        if count > _MOST:
            raise NotGguf("its header makes no sense")
        if kind == _STRING:
            return [self.string() for _ in range(count)]
        if kind not in _SIZES:
            raise NotGguf("its header makes no sense")
        begin = self.at
        self.skip(_SIZES[kind] * count)
        return kind, count, begin


def read_header(path: Path) -> Header:
    """Read the header of the GGUF file at `path`.

    Raises NotGguf, or OSError where the file cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(8)
        if start[:4] != b"GGUF":
            raise NotGguf("it is not a GGUF file")
        if len(start) < 8 or int.from_bytes(start[4:], "little") not in (2, 3):
            raise NotGguf("it is a GGUF file of a version that is not known here")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _read(_Cursor(data))
            except struct.error:
                raise NotGguf("it ends in the middle of its header") from None


def _read(cursor: _Cursor) -> Header:
    cursor.skip(8)
    tensors, pairs = cursor.take("<Q"), cursor.take("<Q")
    if not tensors or tensors > _MOST or pairs > _MOST:
        raise NotGguf("its header makes no sense")
    context = 0
    tokens: list[bytes] = []
    kinds: tuple[int, ...] = ()
    for _ in range(pairs):
        key, kind = cursor.string(), cursor.take("<I")
        if kind == _ARRAY:
            value = cursor.array()
            if key == b"tokenizer.ggml.tokens" and isinstance(value, list):
                tokens = value
            elif key == b"tokenizer.ggml.token_type" and not isinstance(value, list) and _SIZES[value[0]] == 4:
                kinds = struct.unpack_from(f"<{value[1]}i", cursor.data, value[2])
        elif kind == _STRING:
            cursor.string()
        elif key.endswith(b".context_length") and kind in (_U32, _U64):
            context = cursor.take("<I" if kind == _U32 else "<Q")
        elif kind in _SIZES:
            cursor.skip(_SIZES[kind])
        else:
            raise NotGguf("its header makes no sense")
    control = tuple(
        text
        for token, kind in zip(tokens, kinds, strict=False)
        if kind == _CONTROL and (text := token.decode("utf-8", "ignore"))
    )
    return Header(context, control, max(map(len, tokens), default=0))
