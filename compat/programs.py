"""What each of ws-rs's programs must do."""

import re
import time

from exercise import LIMIT, Failure, equal, until, wait_until_free
from peers import SilentClient, accepting, closing, connect_to, get, receive
from websockets.exceptions import InvalidStatus

PORT = 3012
URL = f"ws://127.0.0.1:{PORT}"


def test_file(exercise):
    """Failed assertions in a handler do not end its test, which then waits for a shutdown: it is given up."""
    for port in (PORT, 3024, 9876):
        wait_until_free(port)
    program = exercise.start(exercise.names[0], "--test-threads=1")
    program.ends(seconds=2 * LIMIT)
    program.stdout.expect("test result: ok.")


def server(exercise):
    program = exercise.start("server", port=PORT)
    with connect_to(URL) as first, connect_to(URL) as second:
        for message in ("Hello", "Grüße, 世界", "", "x" * 200_000, b"\xff\xfe\x00", bytes(100_000)):
            first.send(message)
            equal("echo", receive(first), message)
        program.stdout.expect("Server got message 'Hello'. \n", "Server got message 'Grüße, 世界'. \n")
        program.stdout.expect("Server got message ''. \n", "Server got message 'Binary Data<length=3>'. \n")
        second.send("To the other")
        equal("echo", receive(second), "To the other")
        first.close(4321, "enough")
        equal("the Close that answers", closing(first), (4321, ""))
    client = exercise.start("client")
    client.ends()
    equal("client's output", client.stdout.text(), client_output("Hello WebSocket"))
    with connect_to(URL) as last:
        program.interrupt()
        if not exercise.original:
            equal("Close on SIGINT", closing(last), (1001, "Shutting down."))


def client(exercise):
    with accepting(PORT) as accepted:
        program = exercise.start("client")
        connection = accepted.get(timeout=LIMIT)
        equal("first message", receive(connection), "Hello WebSocket")
        connection.send("Hello client")
        program.ends()
        equal("output", program.stdout.text(), client_output("Hello client"))
        equal("closed with", closing(connection), (1000, ""))
    refused = exercise.start("client")
    refused.ends()
    equal("output with nothing to connect to", refused.stdout.text(), client_output())
    refused.stderr.expect("ERROR", "refused")


def client_output(*answers):
    return "".join(["Client sent message 'Hello WebSocket'. \n", *(f"Client got message '{a}'. \n" for a in answers)])


def cli(exercise):
    instructions = ("Type /close [code] [reason] to close the connection.\n", "Type /help", "sent as messages.\n\n?> ")

    server = exercise.start("server", port=PORT)
    program = exercise.start("cli", URL)
    program.stdout.expect(f"Connecting to {URL}\n", *instructions)
    program.write("from the command line")
    program.stdout.expect(">>> from the command line\n?> ", "<<< from the command line\n?> ")
    program.write("/help")
    program.stdout.expect(*instructions)
    program.write("/close soon")
    program.stdout.expect("Unable to parse soon")
    program.write("/close")
    program.stdout.expect("Closing normally, please wait...", "<<< Closing<(Normal)>\nHit any key to end session.")
    program.ends()
    server.stdout.expect("Server got message 'from the command line'. \n")
    server.interrupt()

    with accepting(PORT) as accepted:
        for command, answer, code, reason in (
            ("/close 3001", "Closing with code: Other(3001), please", 3001, ""),
            ("/close 1001 going home", "Closing with code: Away and reason: going home, please", 1001, "going home"),
        ):
            program = exercise.start("cli", URL)
            connection = accepted.get(timeout=LIMIT)
            program.stdout.expect(*instructions)
            program.write(command)
            program.stdout.expect(answer)
            program.ends()
            equal("closed with", closing(connection), (code, reason))

        program = exercise.start("cli", URL)
        connection = accepted.get(timeout=LIMIT)
        program.stdout.expect(*instructions)
        connection.send("from the server")
        program.stdout.expect("<<< from the server\n")
        connection.close(1012, "new version")
        program.stdout.expect("<<< Closing<(Restart) new version>\nHit any key to end session.")
        program.write("")
        program.ends()

    # Its main thread waits for a handler's Sender: all that `connect` was given must be gone when it returns.
    refused = exercise.start("cli", URL)
    refused.stdout.expect("<<< Error<WS Error <Io(", "refused")
    refused.ends()


def channel(exercise):
    program = run_both_sides(exercise, "channel")
    lines = program.stdout.lines()
    for start in ("Server got message '{}'. ", "Client got message '{}'. ", "Logger is storing {}"):
        expected = [start.format(number) for number in range(1, 6)]
        equal("in order", [line for line in lines if line.startswith(start[:10])], expected)
    expected = ["Logger sending final log result.", "In: [1, 2, 3, 4, 5]", "Out: [1, 2, 3, 4, 5]", "All done."]
    equal("last lines", lines[-4:], expected)


def threaded(exercise):
    program = run_both_sides(exercise, "threaded")
    lines = program.stdout.lines()
    equal("last line", lines[-1], "All done.")
    equal("client", [line for line in lines if line.startswith("Client")], ["Client got message 'Hello WebSocket'. "])
    expected = [
        "Server got message 'Hello WebSocket'. ",
        "WebSocket closing for (Normal) ",
        "Shutting down server after first connection closes.",
    ]
    equal("server", [line for line in lines[:-1] if not line.startswith("Client")], expected)


def run_both_sides(exercise, name):
    """Runs a program that gives its server 10 ms to listen before its client comes, again if these were too few."""
    for _ in range(5):
        wait_until_free(PORT)
        program = exercise.start(name)
        until(f"{name} to end", lambda: program.ended() or b"refused" in program.stderr.bytes)
        if b"refused" not in program.stderr.bytes:
            program.ends()
            return program
        program.kill()
    raise Failure("the server needs more than 10 ms to listen")


def shared(exercise):
    wait_until_free(PORT)
    program = exercise.start("shared")
    program.ends()
    expected = [
        "Client sending 'Hello Websocket' ",
        "Server got 'Hello Websocket' ",
        "Server sending 'How are you?' ",
        "Client got 'How are you?' ",
        "All done.",
    ]
    equal("output", program.stdout.lines(), expected)


def peer2peer(exercise):
    """The network that the program's documentation draws. Each peer reaches its neighbours and nobody else."""
    dialled = {3012: [], 3013: [3012], 3014: [3012], 3015: [3012, 3013]}
    neighbours = {peer: {*others, *(p for p in dialled if peer in dialled[p])} for peer, others in dialled.items()}
    peers = {}
    for port, others in dialled.items():
        arguments = [f"ws://localhost:{other}" for other in others]
        if port != PORT:
            arguments = ["--server", f"localhost:{port}", *arguments]
        peers[port] = exercise.start("peer2peer", *arguments, port=port, RUST_LOG="peer2peer=info")

    def heard(port):
        pattern = rf"Peer localhost:{port} got message: from (\d+)"
        return {int(sender) for sender in re.findall(pattern, peers[port].stderr.text())}

    for port, peer in peers.items():

        def everyone_heard():
            # Said again and again, because nothing tells when the peers are connected.
            peer.write(f"from {port}")
            return all(port in heard(neighbour) for neighbour in neighbours[port])

        until(f"the neighbours of {port} to hear it", everyone_heard)
    for port in peers:
        equal(f"whom {port} heard", heard(port), neighbours[port])
    for peer in peers.values():
        peer.end_input()
        peer.interrupt()


def external_shutdown(exercise):
    said = "Shutting down server because no connections were established.\n"

    alone = exercise.start("external_shutdown", port=PORT)
    alone.ends()
    equal("output", alone.stdout.text(), said)

    visited = exercise.start("external_shutdown", port=PORT)
    started = time.monotonic()
    with connect_to(URL) as connection:
        connection.send("Is anyone there?")
        visited.stdout.expect("Message handler called.\n")
        # It makes up its mind after five seconds.
        until("the time for visitors to be over", lambda: time.monotonic() > started + 6)
        equal("answered a Ping", connection.ping().wait(LIMIT), True)
        visited.interrupt()
    equal("output", visited.stdout.text(), "Message handler called.\n")


def html_chat(exercise):
    program = exercise.start("html_chat", port=8000)
    status, headers, body = get(8000, "/")
    equal("status of the page", status, 200)
    equal("its length", headers["Content-Length"], str(len(body)))
    equal("is the page", b'new WebSocket("ws://" + window.location.host + "/ws")' in body, True)
    status, _, body = get(8000, "/elsewhere")
    equal("elsewhere", (status, body), (404, b"404 - Not Found"))
    url = "ws://127.0.0.1:8000/ws"
    with connect_to(url) as one, connect_to(url) as other:
        for speaker, text in ((one, "Hello all"), (other, "Hello you")):
            speaker.send(text)
            equal("all hear", [receive(one), receive(other)], [text, text])
        status, *_ = get(8000, "/")
        equal("the page beside the chat", status, 200)
    program.interrupt()


def router(exercise):
    program = exercise.start("router", port=PORT)
    with connect_to(f"{URL}/echo") as connection:
        connection.send("Hello")
        equal("echo", receive(connection), "Hello")
        program.stdout.expect("Echo handler received a message: Hello\n")
    for path, data in (
        ("/data/one", ["one", "two", "three", "four", "five"]),
        ("/data/two", ["いち", "二", "さん", "四", "ご"]),
    ):
        with connect_to(URL + path) as connection:
            equal(path, [receive(connection) for _ in data], data)
            connection.send("got it")
            equal(f"{path} closes with", closing(connection), (1000, ""))
            program.stdout.expect("Data handler received a message: got it\n", "Data handler going down.\n")
    with connect_to(f"{URL}/closure") as connection:
        connection.send("Hello")
        equal("/closure closes with", closing(connection), (1011, "Not Implemented."))
        program.stdout.expect("Got a message on a closure handler: Hello\n")
    for path in ("/", "/data/three", "/echo?query"):
        try:
            with connect_to(URL + path):
                raise Failure(f"{path} is there")
        except InvalidStatus as error:
            equal(path, (error.response.status_code, error.response.reason_phrase), (404, "Not Found"))
    # The handler looks for a key, as every handshake has one.
    equal("a page of it", get(PORT, "/echo")[0], 400)
    program.interrupt()


def remote_addr(exercise):
    program = exercise.start("remote_addr", port=PORT)
    for header, address in (
        ({}, "127.0.0.1"),
        ({"X-Forwarded-For": "203.0.113.7, 198.51.100.1"}, "203.0.113.7"),
        ({"Forwarded": "by=198.51.100.1; for=192.0.2.43, for=unknown"}, "192.0.2.43"),
        ({"X-Forwarded-For": "203.0.113.8", "Forwarded": "for=192.0.2.44"}, "203.0.113.8"),
    ):
        with connect_to(URL, additional_headers=header) as connection:
            program.stdout.expect(f"Connection opened from {address}.\n")
            connection.send("Goodbye")
            equal("closes with", closing(connection), (1000, ""))
    program.interrupt()


def pong(exercise):
    """The first connection is active, so that it outlives the second, whose silence lasts half a minute."""
    program = exercise.start("pong", port=PORT)
    with connect_to(URL) as active, SilentClient(PORT) as silent:
        active.send("Hello")
        equal("echo", receive(active), "Hello")
        program.stdout.expect("Server got message 'Hello'. \n")
        active.pong(b"no time")
        program.stdout.expect("Received bad pong.\n")
        pings, close, seconds = silent.until_close(30 + LIMIT)
        equal("closed for silence after half a minute", seconds > 29, True)
        equal("closed with", close, (1001, ""))
        equal("a Ping every five seconds before", len(pings) >= 5 and all(ping.isdigit() for ping in pings), True)
        program.stdout.expect(*["RTT is ", "ms.\n"] * 5)
        equal("answered a Ping", active.ping().wait(LIMIT), True)
        silent.answer_close()
        program.stdout.expect("WebSocket closing for (Away) \n")
        program.stdout.expect("Shutting down server after first connection closes.\n")
        if not exercise.original:
            equal("the active one is closed with", closing(active), (1001, "Shutting down."))
    program.ends()

    program = exercise.start("pong", port=PORT)
    with connect_to(URL) as connection:
        connection.close(1000, "thanks")
        equal("the Close that answers", closing(connection), (1000, ""))
    program.stdout.expect("WebSocket closing for (Normal) thanks\n")
    program.ends()


def bench(exercise):
    """10 000 connections at once, as many as the server takes, and eleven messages on each."""
    server = exercise.start("bench-server", port=PORT)
    program = exercise.start("bench")
    program.ends(seconds=10 * LIMIT)
    program.stdout.expect("Total time. ")
    equal("errors", program.stderr.text(), "")
    with connect_to(URL) as connection:
        connection.send("Still there?")
        equal("echo", receive(connection), "Still there?")
    server.interrupt()


def built(exercise):
    equal("built", set(exercise.names) <= set(exercise.paths), True)


def without_ssl(exercise):
    program = exercise.start(exercise.names[0])
    program.ends()
    equal("output", program.stdout.text(), "SSL feature is not enabled.\n")


# The programs that are tried together, the build they are taken from, and how.
EXERCISES = [
    (["bind"], "plain", test_file),
    (["shutdown"], "plain", test_file),
    (["deflate"], "deflate", test_file),
    (["server"], "plain", server),
    (["client"], "plain", client),
    (["cli"], "plain", cli),
    (["channel"], "plain", channel),
    (["threaded"], "plain", threaded),
    (["shared"], "plain", shared),
    (["peer2peer"], "plain", peer2peer),
    (["external_shutdown"], "plain", external_shutdown),
    (["html_chat"], "plain", html_chat),
    (["router"], "plain", router),
    (["remote_addr"], "plain", remote_addr),
    (["pong"], "plain", pong),
    (["bench", "bench-server"], "plain", bench),
    (["autobahn-client", "autobahn-server"], "plain", built),
    (["autobahn-client", "autobahn-server"], "deflate", built),
    (["ssl-server"], "plain", without_ssl),
    (["unsafe-ssl-client"], "plain", without_ssl),
]
