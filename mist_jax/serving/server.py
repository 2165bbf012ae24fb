"""The server: one port, a conversation for each connection, one policy for all of them."""

import asyncio
import itertools
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as listen
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from mist_jax.errors import UserError
from mist_jax.serving.batcher import Batcher
from mist_jax.serving.client import Client
from mist_jax.serving.control import asked_by_a_page, http_answer
from mist_jax.serving.frame import pack_openpi, unpack
from mist_jax.serving.harness import HarnessTalk, envelope, hello, is_message
from mist_jax.serving.openpi import OpenpiTalk, openpi_greeting
from mist_jax.serving.served_policy import ServedPolicy
from mist_jax.serving.settings import ServeSettings

POLICY_FAILED = 1011  # close code: internal error
_SILENT = logging.Logger("mist_jax.serving", logging.CRITICAL)  # a port scan is no news

Result = TypeVar("Result")


class _ClientGoneError(Exception):
    """The client went while its question was being answered."""


class Talk(Protocol):
    """How one protocol answers a connection."""

    async def reply(self, message: Mapping[Any, Any]) -> bytes | None:
        """The frame to send, if any. Raises UserError for a message that is wrong."""
        ...

    def refusal(self, message: Mapping[Any, Any] | None, error: str) -> tuple[bytes | str, bool]:
        """The frame of an error, and whether the connection ends with it; None: not even read."""
        ...


class PolicyServer:
    """Serves one policy until it is told to stop.

    Attributes:
        batcher: what has been asked so far.
    """

    def __init__(self, served: ServedPolicy, settings: ServeSettings, log: Callable[[str], None]):
        """`log` gets a line for what goes wrong, a traceback for what is a bug."""
        self.batcher = Batcher(served, settings.wait)
        self._served, self._settings, self._log = served, settings, log
        self._numbers = itertools.count()
        described = served.describe()
        self._hello = hello(described, served.policy.preprocessor)
        self._described = described

    async def run(self, stop: asyncio.Event, ready: Callable[[str, int], None]) -> None:
        """Listens until `stop` is set; `ready` is told host and port once clients may come.

        Connections are then closed with code 1001; the batch that runs is waited for.

        Raises:
            UserError: nothing can listen there.
        """
        settings = self._settings
        try:
            server = await listen(
                self._handle,
                settings.host,
                settings.port,
                process_request=self._http,
                origins=[None],  # see `asked_by_a_page`
                compression=None,
                max_size=settings.max_message,
                # Clients that compile or simulate do not answer pings for a while.
                ping_interval=None,
                logger=_SILENT,
            )
        except OSError as error:
            raise UserError(
                f"--host={settings.host} --port={settings.port}: {error.strerror or error}; "
                "choose another"
            ) from None
        batching = asyncio.create_task(self.batcher.run())
        try:
            host, port = server.sockets[0].getsockname()[:2]
            ready(host, port)
            await stop.wait()
        finally:
            server.close()
            await server.wait_closed()
            batching.cancel()
            await asyncio.to_thread(self.batcher.close)

    def _http(self, connection: ServerConnection, request: Request) -> Response | None:
        if asked_by_a_page(request.headers):
            return connection.respond(403, "a page in a browser may not ask this server\n")
        answer = http_answer(request.path, self.batcher)
        if answer is None:
            return None
        status, kind, body = answer
        response = connection.respond(status, body)
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = kind
        return response

    async def _handle(self, connection: ServerConnection) -> None:
        number = next(self._numbers)
        client = Client(self._served, self.batcher, self._settings.protocol, number)
        try:
            await self._converse(connection, client)
        except (ConnectionClosed, _ClientGoneError):
            pass  # a client may go whenever it likes
        finally:
            client.close()

    async def _converse(self, connection: ServerConnection, client: Client) -> None:
        talk: Talk | None = None
        if self._settings.protocol == "vla-eval":
            talk = HarnessTalk(client, self._settings, self._hello)
        elif self._settings.protocol == "openpi":
            talk = OpenpiTalk(client, self._settings)
            await connection.send(openpi_greeting(self._described))
        else:
            # A hello that is metadata as well: each client reads what it waits for.
            greeting = {**self._described, **envelope("hello", self._hello, 0)}
            await connection.send(pack_openpi(greeting))
        async for frame in connection:
            message = None
            try:
                message = unpack(frame)
                if talk is None and is_message(message):
                    talk = HarnessTalk(client, self._settings, self._hello, greeted=True)
                elif talk is None:
                    talk = OpenpiTalk(client, self._settings)
                reply = await _while_open(connection, talk.reply(message))
                ends = False
            except _ClientGoneError:
                raise
            except Exception as error:
                told = self._told(error, connection)
                refuse = talk or OpenpiTalk(client, self._settings)
                reply, ends = refuse.refusal(message, told)
            if reply is not None:
                await connection.send(reply)
            if ends:
                await connection.close(POLICY_FAILED, "the frame before says why")
                return

    def _told(self, error: Exception, connection: ServerConnection) -> str:
        """One line for the client and the log; a bug's traceback is for the log alone."""
        host, port = connection.remote_address[:2]
        if isinstance(error, UserError):
            self._log(f"client {host}:{port}: {error}")
            return str(error)
        self._log("".join(traceback.format_exception(error)).rstrip())
        return f"the policy failed: {type(error).__name__}: {' '.join(str(error).split())[:500]}"


async def _while_open(connection: ServerConnection, reply: Awaitable[Result]) -> Result:
    """What `reply` gives; where the client goes before, it is cancelled.

    Raises:
        _ClientGoneError: it has.
    """
    working = asyncio.ensure_future(reply)
    closed = asyncio.ensure_future(connection.wait_closed())
    try:
        await asyncio.wait((working, closed), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise _ClientGoneError
    finally:
        working.cancel()
        closed.cancel()
