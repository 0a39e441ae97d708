"""The scenario of README.md, for every Python library; what is a library's own is in its peer_*.py.

A library brings a connection with these members, the same in both roles:

    subprotocol         the one that was agreed on, or None
    send(message)       a str as text, bytes as binary
    receive()           the next message, or None when the connection has ended
    ping(payload)       returns when the matching pong has come
    close(code, reason) the whole closing handshake
    ending              (code, reason) of the peer's Close frame, or None when none came
"""

import argparse
import asyncio
import ssl
import sys

OFFERED = ["other", "echo.v1"]
SUBPROTOCOL = "echo.v1"
TEXT = "Grüße, 世界 🦀"
MAX_MESSAGE = 8 * 1024 * 1024
# In seconds, and longer than a test may take, so that an ending that is not clean cannot pass by waiting.
CLOSE_TIMEOUT = 120
# In seconds: longer than the proxies are told to wait for a silent connection, and between two attempts.
SILENCE = 3
RETRY = 0.1


def pattern(length):
    """Bytes whose period is a prime, so that a piece in the wrong place shows."""
    period = bytes(range(251))
    return (period * (length // len(period) + 1))[:length]


def equal(step, actual, expected):
    if actual != expected:
        raise AssertionError(f"{step}: got {actual!r:.200}, expected {expected!r:.200}")


async def client(connect):
    """The client's steps. `connect(path)` opens a connection that offers OFFERED."""
    echo = await connect("/")
    equal("subprotocol", echo.subprotocol, SUBPROTOCOL)

    messages = {
        "text": TEXT,
        "binary": pattern(1000),
        "empty text": "",
        "empty binary": b"",
        "5 MiB": pattern(5 * 1024 * 1024),
    }
    for step, message in messages.items():
        await echo.send(message)
        equal(step, await echo.receive(), message)

    for number in range(2000):
        await echo.send(f"message {number}")
    for number in range(2000):
        equal("2,000 in a row", await echo.receive(), f"message {number}")

    await echo.ping(b"our ping")
    await echo.send("ping me")
    equal("ping from the server", await echo.receive(), "pong their ping")

    leaving = await connect("/leaving")
    await leaving.close(4001, "bye")
    if leaving.ending is None:
        raise AssertionError("close by the client: no Close frame came back")
    await echo.send("ending /leaving")
    equal("close by the client", await echo.receive(), "4001 bye")

    left = await connect("/left")
    await left.send("close 4002 later")
    equal("close by the server", await left.receive(), None)
    equal("close by the server", left.ending, (4002, "later"))

    await echo.close(1000, "")
    if echo.ending is None:
        raise AssertionError("the last close: no Close frame came back")


async def restart(connect, refused):
    """More steps, with a server behind a reverse proxy that goes away, comes back and ends; each prints a line when it is done.
    `connect(path)` as above; its connections also have `compressed`, and it raises `refused` while nobody answers."""
    again = await connect("/again")
    equal("compression", again.compressed, True)
    await asyncio.sleep(SILENCE)
    await again.send("awake")
    equal("after a silence", await again.receive(), "awake")
    print("awake", flush=True)

    await ended(again, "when the server ends")

    while True:
        try:
            again = await connect("/again")
            break
        except refused:
            await asyncio.sleep(RETRY)
    await again.send("again")
    equal("after a restart", await again.receive(), "again")
    print("again", flush=True)

    await ended(again, "when the server is drained")


async def ended(connection, step):
    """Waits for the end and prints its code, 1006 without a Close frame."""
    equal(step, await connection.receive(), None)
    code, _ = connection.ending or (1006, "")
    print(f"ended {code}", flush=True)


class Server:
    """The server's side, which remembers how the connection of each path ended."""

    def __init__(self):
        self.endings = {}

    def ending_of(self, path):
        return self.endings.setdefault(path, asyncio.get_running_loop().create_future())

    async def serve(self, connection, path):
        while (message := await connection.receive()) is not None:
            match message.split(" ", 2) if isinstance(message, str) else []:
                case ["ping", "me"]:
                    await connection.ping(b"their ping")
                    await connection.send("pong their ping")
                case ["ending", path_asked]:
                    await connection.send(await self.ending_of(path_asked))
                case ["close", code, reason]:
                    await connection.close(int(code), reason)
                case _:
                    await connection.send(message)
        code, reason = connection.ending or (1006, "")
        if not self.ending_of(path).done():
            self.ending_of(path).set_result(f"{code} {reason}")


def main(run_client, run_server, run_restart=None):
    """The command line. `run_client(url, tls)` plays the scenario, `run_restart(url, tls)` what `--restart` adds to it; `run_server(server, tls, listening)` listens, calls
    `listening(port)` and serves until it is cancelled."""
    parser = argparse.ArgumentParser()
    roles = parser.add_subparsers(dest="role", required=True)
    as_client = roles.add_parser("client")
    as_client.add_argument("url")
    as_client.add_argument("--ca")
    if run_restart:
        as_client.add_argument("--restart", action="store_true")
    as_server = roles.add_parser("server")
    as_server.add_argument("--cert")
    as_server.add_argument("--key")
    arguments = parser.parse_args()

    if arguments.role == "client":
        tls = ssl.create_default_context(cafile=arguments.ca) if arguments.ca else None
        try:
            url = arguments.url.rstrip("/")
            asyncio.run(run_client(url, tls))
            print("passed", flush=True)
            if run_restart and arguments.restart:
                asyncio.run(run_restart(url, tls))
        except AssertionError as difference:
            sys.exit(str(difference))
    else:
        tls = None
        if arguments.cert:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(arguments.cert, arguments.key)
        asyncio.run(until_input_ends(run_server, tls))


async def until_input_ends(run_server, tls):
    serving = asyncio.create_task(run_server(Server(), tls, lambda port: print(f"listening {port}", flush=True)))
    reading = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    done, _ = await asyncio.wait([serving, reading], return_when=asyncio.FIRST_COMPLETED)
    serving.cancel()
    if serving in done:
        await serving
