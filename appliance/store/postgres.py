"""PostgreSQL as Tortoise's engine: connections that may go and come back, and errors by what they mean.

Tortoise names this module where SILO_DATABASE_URL says `postgres://`; it is loaded for nothing else.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
from tortoise.backends.asyncpg.client import AsyncpgDBClient, TransactionWrapper
from tortoise.backends.base.client import TransactionContextPooled
from tortoise.connection import get_connections
from tortoise.exceptions import IntegrityError, OperationalError

from silo.errors import SiloError

_CONNECT = 5
"""Seconds in which a connection is there."""
_ANSWER = 60
"""Seconds in which a statement is answered."""
_CONNECTIONS = 10

_SETTINGS = {
    "application_name": "securesilo",
    # An acknowledged record outlives a power cut, whatever the server's own setting.
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",
    # What a host leaves that was cut off holds nobody up for long.
    "idle_in_transaction_session_timeout": "60s",
    "lock_timeout": "30s",
}

_AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.ReadOnlySQLTransactionError,  # a primary that has become a standby
    asyncpg.LockNotAvailableError,
    asyncpg.InternalClientError,
    asyncpg.InterfaceError,
    OSError,  # a TimeoutError is one
)


class Again(OperationalError):
    """The transaction was taken back because of another one (40001, 40P01): done again it may go through."""


@contextmanager
def _told() -> Iterator[None]:
    """asyncpg's errors as the store knows them. Raises IntegrityError, Again, OperationalError; SiloError
    `storage_away` where the database does not answer, or not this client."""
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        raise IntegrityError(error) from error
    except asyncpg.TransactionRollbackError as error:
        raise Again(error) from error
    except asyncpg.DiskFullError as error:
        raise OperationalError("the disk is full") from error
    except _AWAY as error:
        if isinstance(error, ValueError):
            raise  # a value that does not fit its column: ours to correct
        raise SiloError("storage_away", type(error).__name__) from None
    except asyncpg.PostgresError as error:
        raise OperationalError(error) from error


class _Context(TransactionContextPooled):
    async def __aenter__(self) -> Any:
        try:
            with _told():
                return await super().__aenter__()
        except BaseException:
            # Tortoise would keep the connection for good, and this task in the transaction.
            parent: Any = self.client._parent  # pyright: ignore[reportAttributeAccessIssue]
            if token := getattr(self, "token", None):
                get_connections().reset(token)
            if parent._pool and self.client._connection is not None:
                with _told():
                    await parent._pool.release(self.client._connection)
            raise

    async def __aexit__(self, *raised: Any) -> None:
        with _told():
            await super().__aexit__(*raised)


class _Translating:
    async def _translate_exceptions(self, func: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        with _told():
            return await func(self, *args, **kwargs)


class _Transaction(_Translating, TransactionWrapper):
    async def commit(self) -> None:
        with _told():
            await super().commit()

    async def rollback(self) -> None:
        with _told():
            await super().rollback()


class Client(_Translating, AsyncpgDBClient):
    """A pool of connections to `dsn`, a libpq URL."""

    def __init__(self, dsn: str, **more: Any) -> None:
        super().__init__(**more)
        self._dsn = dsn

    async def create_connection(self, with_db: bool) -> None:
        try:
            with _told():
                self._pool = await asyncpg.create_pool(
                    self._dsn,
                    min_size=1,
                    max_size=_CONNECTIONS,
                    timeout=_CONNECT,
                    command_timeout=_ANSWER,
                    server_settings=_SETTINGS,
                )
        except OperationalError as error:
            raise SiloError("storage_away", type(error.__cause__).__name__) from None
        except ValueError:
            said = "SILO_DATABASE_URL cannot be read; write it as postgres://user@host/name"
            raise SiloError("bad_settings", said) from None
        await self._post_connect()

    def _in_transaction(self) -> TransactionContextPooled:
        return _Context(_Transaction(self), self._pool_init_lock)


client_class = Client
