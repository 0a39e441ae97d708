"""Python's `aiohttp` as a peer: `client URL [--ca FILE]` or `server [--cert FILE --key FILE]`; see README.md."""

import asyncio

import aiohttp
import scenario
from aiohttp import WSMsgType, web


class Connection:
    """Over a connection with `autoping=False`, because with it aiohttp hides the pongs."""

    def __init__(self, inner, subprotocol):
        self.inner = inner
        self.subprotocol = subprotocol
        self.ending = None

    async def send(self, message):
        if isinstance(message, str):
            await self.inner.send_str(message)
        else:
            await self.inner.send_bytes(message)

    async def receive(self):
        message = await self.inner.receive()
        while message.type is WSMsgType.PING:
            await self.inner.pong(message.data)
            message = await self.inner.receive()
        if message.type is WSMsgType.CLOSE:
            self.ending = (message.data, message.extra)
        elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            return message.data
        elif message.type not in (WSMsgType.CLOSING, WSMsgType.CLOSED):
            raise AssertionError(f"unexpected {message}")
        return None

    async def ping(self, payload):
        await self.inner.ping(payload)
        message = await self.inner.receive()
        scenario.equal("ping", (message.type, bytes(message.data)), (WSMsgType.PONG, payload))

    async def close(self, code, reason):
        await self.inner.close(code=code, message=reason.encode())
        if self.inner.close_code not in (None, 1006):
            # aiohttp does not keep the reason of an answer to its own Close frame.
            self.ending = (self.inner.close_code, "")


async def run_client(url, tls):
    async with aiohttp.ClientSession() as session:

        async def open_path(path):
            inner = await session.ws_connect(
                url + path,
                ssl=tls or True,
                protocols=scenario.OFFERED,
                max_msg_size=scenario.MAX_MESSAGE,
                timeout=aiohttp.ClientWSTimeout(ws_close=scenario.CLOSE_TIMEOUT),
                autoping=False,
            )
            return Connection(inner, inner.protocol)

        await scenario.client(open_path)


async def run_server(server, tls, listening):
    async def handle(request):
        inner = web.WebSocketResponse(
            protocols=[scenario.SUBPROTOCOL],
            max_msg_size=scenario.MAX_MESSAGE,
            timeout=scenario.CLOSE_TIMEOUT,
            autoping=False,
        )
        await inner.prepare(request)
        await server.serve(Connection(inner, inner.ws_protocol), request.path)
        return inner

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    listening(runner.addresses[0][1])
    await asyncio.Future()


scenario.main(run_client, run_server)
