"""Python's `websockets` as a peer: `client URL [--ca FILE] [--restart]` or `server [--cert FILE --key FILE]`; see README.md."""

import asyncio

import scenario
import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve


class Connection:
    def __init__(self, inner):
        self.inner = inner
        self.subprotocol = inner.subprotocol
        self.compressed = bool(inner.protocol.extensions)

    async def send(self, message):
        await self.inner.send(message)

    async def receive(self):
        try:
            return await self.inner.recv()
        except websockets.ConnectionClosed:
            return None

    async def ping(self, payload):
        await (await self.inner.ping(payload))

    async def close(self, code, reason):
        await self.inner.close(code, reason)

    @property
    def ending(self):
        frame = self.inner.protocol.close_rcvd
        return frame and (frame.code, frame.reason)


def opener(url, tls):
    async def open_path(path):
        return Connection(
            await connect(
                url + path,
                ssl=tls,
                subprotocols=scenario.OFFERED,
                max_size=scenario.MAX_MESSAGE,
                close_timeout=scenario.CLOSE_TIMEOUT,
                proxy=None,
            )
        )

    return open_path


async def run_client(url, tls):
    await scenario.client(opener(url, tls))


async def run_restart(url, tls):
    await scenario.restart(opener(url, tls), websockets.InvalidHandshake)


async def run_server(server, tls, listening):
    async def handle(inner):
        await server.serve(Connection(inner), inner.request.path)

    async with serve(
        handle,
        "127.0.0.1",
        0,
        ssl=tls,
        subprotocols=[scenario.SUBPROTOCOL],
        max_size=scenario.MAX_MESSAGE,
        close_timeout=scenario.CLOSE_TIMEOUT,
    ) as listener:
        listening(listener.sockets[0].getsockname()[1])
        await asyncio.Future()


scenario.main(run_client, run_server, run_restart)
