"""What an engine promises to the rest of the appliance.

An engine is an OpenAI-compatible process on a Unix socket. One suite of tests holds every kind of
engine to what the docstrings here say.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation. `role` is `system`, `user` or `assistant`."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Job:
    """One question to an engine: the whole conversation, oldest message first.

    None leaves a parameter to the engine. Values out of range are clamped, not refused: temperature
    to 0..2, top_p to 0.001..1, max_tokens to 1..context, seed to 31 bits; NaN and infinity count as None.
    `stop` holds at most 16 strings of 1 to 256 characters; what is beyond that is left out.
    `cache_salt` separates the prefix caches of different users, where an engine has one; it is
    letters, digits, `-` and `_`, and made by the appliance, never by a client.
    """

    messages: tuple[Message, ...]
    model: str
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    cache_salt: str = ""


@dataclass(frozen=True, slots=True)
class Finish:
    """How a reply ended. `stop`: the model or a stop string ended it. `length`: max_tokens or the context did.

    The counts are tokens, as the engine counted them; 0 where it did not say.
    """

    reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Model:
    """A model that an engine serves. `context` is the room of one conversation in tokens, reply included."""

    id: str
    context: int


class Engine(Protocol):
    """A model server, wherever its process comes from. All methods belong to one event loop."""

    async def start(self) -> None:
        """Return as soon as the engine answers.

        Raises SiloError: `model_broken` (the model file cannot be used; the detail says why) or
        `engine_down` (it does not answer in time, or its program ends by itself). An engine that was
        spawned has then been ended; one that was attached to is still waited for until `stop`.
        """
        ...

    async def stop(self) -> None:
        """End everything that `start` began: processes, sockets, streams. May be called at any time, and twice.

        Streams that still run raise `engine_down`.
        """
        ...

    @property
    def ready(self) -> bool:
        """Whether the engine answered when it was last asked. Changes by itself as the engine goes and comes back."""
        ...

    def models(self) -> list[Model]:
        """The models to choose from, the default first. Empty before `start` returns; kept while the engine is down."""
        ...

    async def run(self, job: Job, on_text: Callable[[str], None]) -> Finish:
        """Stream one reply: call `on_text` with each piece, in order, never with an empty one.

        A piece that comes after a silence is handed over at once, those that follow it closely within
        28 ms. `on_text` is called from a callback of the loop, with no task switch in between, so it must
        be short and must not block. What it raises ends the stream and comes out here.
        At most `parallel` jobs run at once and `queue` wait, first come, first served.
        Cancelling the task that awaits this closes the connection, which frees the engine's slot
        within 1 s; a job that was waiting leaves the queue.

        Raises SiloError:
          `engine_busy`       the queue is full; extra: `retry_after`, whole seconds
          `context_overflow`  the conversation does not fit, told before any text;
                              extra: `limit` and, when the engine counted them, `needed`, both in tokens
          `unknown_model`     it serves no model of that id
          `bad_request`       no messages, a role it does not know, or text that is not Unicode
          `engine_down`       it does not run or does not answer
          `engine_failed`     it went away, fell silent or sent nonsense; text that came before stands.
                              The job is not tried again.
        """
        ...
