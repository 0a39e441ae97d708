"""Python's `websockets` with permessage-deflate: `client URL...` or `server`; see README.md."""

import asyncio
import sys
from urllib.parse import urlsplit

from scenario import equal
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.protocol import Side

AHEAD = 32


def make_noise():
    state = 1
    noise = bytearray()
    for _ in range(262_144):
        state = (state * 1_664_525 + 1_013_904_223) % 2**32
        noise.append(state >> 24)
    return bytes(noise)


def size(number):
    place = number % 200
    if place == 0:
        return 102_400
    if place < 4:
        return 20_000
    if place < 20:
        return 3000
    return 600 if place < 60 else place - 60


def records(number, length):
    text = ""
    entry = 0
    while len(text) < length:
        text += f'{{"id":{number},"entry":{entry},"user":"Grüße {number % 7}","on":true}},'
        entry += 1
    return text[:length]


def message(number, noise):
    length = size(number)
    if number % 3 == 0:
        return records(number, length)
    if number % 3 == 1:
        return records(number, length).encode()
    start = number * 4099 % 159_744
    return noise[start : start + length]


def agreement(connection):
    """What this end takes the agreement for."""
    (extension,) = connection.protocol.extensions
    takeover = {True: "fresh", False: "kept"}
    local = f"{extension.local_max_window_bits} {takeover[extension.local_no_context_takeover]}"
    remote = f"{extension.remote_max_window_bits} {takeover[extension.remote_no_context_takeover]}"
    client, server = (local, remote) if connection.protocol.side is Side.CLIENT else (remote, local)
    return f"server {server}, client {client}"


async def exchange(url, noise):
    # What it offers is its default: no limits, and that its own window can be limited.
    async with connect(url, proxy=None) as connection:
        print(agreement(connection))
        count = int(urlsplit(url).path[1:])
        for number in range(count + AHEAD):
            if number < count:
                await connection.send(message(number, noise))
            if number >= AHEAD:
                answered = number - AHEAD
                equal(f"message {answered}", await connection.recv(), message(answered, noise))


async def run_client(urls):
    noise = make_noise()
    for url in urls:
        await exchange(url, noise)


async def answer(connection):
    await connection.send(agreement(connection))
    async for received in connection:
        await connection.send(received)


async def run_server():
    # Its default has limits of its own; this one takes what is offered.
    unlimited = [ServerPerMessageDeflateFactory()]
    async with serve(answer, "127.0.0.1", 0, extensions=unlimited, compression=None) as listener:
        print(f"listening {listener.sockets[0].getsockname()[1]}", flush=True)
        await asyncio.to_thread(sys.stdin.read)


match sys.argv[1:]:
    case ["client", *urls]:
        try:
            asyncio.run(run_client(urls))
        except AssertionError as difference:
            sys.exit(str(difference))
    case ["server"]:
        asyncio.run(run_server())
    case _:
        sys.exit(__doc__)
