"""What the programs talk to: Python's `websockets` as everyone gets it, and plain requests."""

import contextlib
import http.client
import queue
import socket
import threading
import time

from exercise import LIMIT, Failure, equal
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.sync.client import connect
from websockets.sync.server import serve
from websockets.uri import parse_uri


def connect_to(url, **options):
    """A client, which offers permessage-deflate and answers Pings."""
    return connect(url, proxy=None, open_timeout=LIMIT, close_timeout=LIMIT, **options)


def receive(connection):
    return connection.recv(timeout=LIMIT)


def closing(connection):
    """Code and reason of the Close that ends the connection."""
    try:
        message = receive(connection)
    except ConnectionClosed as closed:
        if closed.rcvd is None:
            raise Failure("the connection ended without a Close") from closed
        return closed.rcvd.code, closed.rcvd.reason
    raise Failure(f"another message: {message!r}")


@contextlib.contextmanager
def accepting(port):
    """A server. Its connections come through a queue."""
    accepted, over = queue.Queue(), threading.Event()

    def handle(connection):
        accepted.put(connection)
        over.wait()

    with serve(handle, "127.0.0.1", port) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield accepted
        finally:
            over.set()
            server.shutdown()
            thread.join()


class SilentClient:
    """A client that does not say anything after the handshake, not even to a Ping, but answers a Close when told to."""

    def __init__(self, port):
        self.protocol = ClientProtocol(parse_uri(f"ws://127.0.0.1:{port}"))
        self.protocol.send_request(self.protocol.connect())
        self.connection = socket.create_connection(("127.0.0.1", port), LIMIT)
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def flush(self):
        self.connection.sendall(b"".join(self.protocol.data_to_send()))

    def until_close(self, limit):
        """The payloads of the Pings until the Close comes, its code and reason, and how many seconds that took."""
        started = time.monotonic()
        pings = []
        while self.protocol.close_rcvd is None:
            # Drops the answers to Pings.
            self.protocol.data_to_send()
            self.connection.settimeout(max(started + limit - time.monotonic(), 0.01))
            data = self.connection.recv(65_536)
            if not data:
                raise Failure("the connection ended without a Close")
            self.protocol.receive_data(data)
            frames = [event for event in self.protocol.events_received() if isinstance(event, Frame)]
            pings += [bytes(frame.data) for frame in frames if frame.opcode is Opcode.PING]
        close = self.protocol.close_rcvd
        return pings, (close.code, close.reason), time.monotonic() - started

    def answer_close(self):
        self.flush()
        self.connection.settimeout(LIMIT)
        equal("end of the connection", self.connection.recv(65_536), b"")


def get(port, path):
    """A plain request: status, headers and body of the answer. No connection is used twice."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()
