"""What a try of a program takes: starting it, waiting for its output, ports and end, never longer than LIMIT."""

import os
import pathlib
import re
import signal
import subprocess
import threading
import time

# Seconds, for whatever is to happen at once. A busy machine may need some.
LIMIT = 30


class Failure(Exception):
    """A program does not do what it must."""


class Exercise:
    """One try of some programs. All that is started in it ends with it."""

    def __init__(self, names, paths, original):
        self.names = names
        self.paths = paths
        self.original = original
        self.programs = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for program in self.programs:
            program.kill()

    def start(self, name, *arguments, port=None, **environment):
        """Starts a program. If it has a port to listen on, returns when it does."""
        if port:
            wait_until_free(port)
        program = Program(self.paths[name], arguments, environment, signal.SIGINT if self.original else None)
        self.programs.append(program)
        if port:
            until(f"{program.name} to listen on port {port}", lambda: program.ended() or program.listens(port))
            equal(f"{program.name} has ended", program.ended(), False)
        return program

    def transcript(self):
        return "".join(
            f"--- {program.name}, {stream.name}\n{stream.text()}\n"
            for program in self.programs
            for stream in (program.stdout, program.stderr)
        )


class Program:
    def __init__(self, path, arguments, environment, killed_by_interrupt):
        self.name = " ".join([path.name, *arguments])
        # For cli, which asks the terminal's description how to redraw its line.
        environment = {"TERM": "xterm", **environment}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RUST_")}
        self.process = subprocess.Popen(
            [path, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=inherited | environment,
        )
        self.stdout = Stream("stdout", self.process.stdout)
        self.stderr = Stream("stderr", self.process.stderr)
        self.interrupted = -killed_by_interrupt if killed_by_interrupt else 0

    def write(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def end_input(self):
        self.process.stdin.close()

    def ended(self):
        return self.process.poll() is not None

    def ends(self, status=0, seconds=LIMIT):
        until(f"{self.name} to end", self.ended, seconds)
        equal(f"{self.name}: exit status", self.process.returncode, status)
        for stream in (self.stdout, self.stderr):
            stream.finish()

    def interrupt(self):
        """SIGINT shuts a server down in good order. ws-rs left it to the default, by which the process is killed."""
        self.process.send_signal(signal.SIGINT)
        self.ends(self.interrupted)

    def kill(self):
        self.process.kill()
        self.process.wait()
        for stream in (self.stdout, self.stderr):
            stream.finish()
        self.process.stdin.close()

    def listens(self, port):
        return bool(listeners(port) & sockets(self.process.pid))


class Stream:
    """What a program has written so far. Both of its streams are read all the time, so that it never has to wait."""

    def __init__(self, name, file):
        self.name = name
        self.file = file
        self.bytes = b""
        self.expected = 0
        self.open = True
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        while chunk := self.file.read1():
            with self.changed:
                self.bytes += chunk
                self.changed.notify_all()
        with self.changed:
            self.open = False
            self.changed.notify_all()

    def finish(self):
        self.thread.join(LIMIT)

    def text(self):
        return self.bytes.decode(errors="replace")

    def lines(self):
        return self.text().splitlines()

    def expect(self, *texts, seconds=LIMIT):
        """Waits for these texts, one after the other, behind what was expected before."""
        for text in map(str.encode, texts):
            with self.changed:
                self.changed.wait_for(lambda: text in self.bytes[self.expected :] or not self.open, seconds)
                found = self.bytes.find(text, self.expected)
                if found < 0:
                    raise Failure(f"{self.name} does not have {text.decode()!r} after the first {self.expected} bytes")
                self.expected = found + len(text)


def until(what, condition, seconds=LIMIT):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(f"waited {seconds} s for {what}")
        time.sleep(0.01)


def wait_until_free(port):
    until(f"port {port} to be free", lambda: not listeners(port))


def equal(what, got, expected):
    if got != expected:
        raise Failure(f"{what}: {got!r}, not {expected!r}")


def listeners(port):
    """The inodes of the sockets that listen on a port. Some programs would count a connection that only tries it."""
    rows = [
        line.split()
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        if pathlib.Path(table).exists()
        for line in pathlib.Path(table).read_text().splitlines()[1:]
    ]
    return {row[9] for row in rows if row[3] == "0A" and int(row[1].rsplit(":", 1)[1], 16) == port}


def sockets(process):
    """The inodes of a process's sockets."""
    inodes = set()
    for file in pathlib.Path(f"/proc/{process}/fd").glob("*"):
        try:
            inodes.update(re.findall(r"^socket:\[(\d+)\]$", os.readlink(file)))
        except FileNotFoundError:
            continue
    return inodes
