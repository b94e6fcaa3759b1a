"""Asking, as tests do."""

from typing import Any

from silo.client.session import End, Session
from silo.messages import Message


def ask(text: str) -> list[Message]:
    """The messages of one question."""
    return [Message(role="user", content=text)]


async def chat(session: Session, text: str, **more: Any) -> End:
    """The End of one turn, after its pieces were found to be its text."""
    pieces: list[str] = []
    async for piece in session.chat(ask(text), **more):
        if isinstance(piece, End):
            assert "".join(pieces) == piece.text
            return piece
        pieces.append(piece)
    raise AssertionError("no end")
