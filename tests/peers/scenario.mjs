// The client's steps of the scenario in README.md, for Node and for browsers: both have the WebSocket of the HTML standard.

export const OFFERED = ["other", "echo.v1"];
const TEXT = "Grüße, 世界 🦀";
// In milliseconds: longer than the proxies are told to wait for a silent connection, and between two attempts.
const SILENCE = 3000;
const RETRY = 100;

/** Bytes whose period is a prime, so that a piece in the wrong place shows. */
function pattern(length) {
  return Uint8Array.from({ length }, (_, index) => index % 251);
}

function describe(value) {
  const text = value instanceof Uint8Array ? `${value.length} bytes ${value.subarray(0, 16)}` : JSON.stringify(value);
  return String(text).slice(0, 200);
}

function same(a, b) {
  if (!(a instanceof Uint8Array && b instanceof Uint8Array)) return a === b;
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}

export function equal(step, actual, expected) {
  if (!same(actual, expected)) throw new Error(`${step}: got ${describe(actual)}, expected ${describe(expected)}`);
}

/** A WebSocket whose messages are waited for one after the other. */
export class Connection {
  #socket;
  #arrived = [];
  #wake = () => {};
  #ending = null;

  constructor(socket) {
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => {
      this.#arrived.push(typeof data === "string" ? data : new Uint8Array(data));
      this.#wake();
    };
    this.ended = new Promise((resolve) => {
      socket.onclose = ({ code, reason, wasClean }) => {
        this.#ending = `${code} ${reason}${wasClean ? "" : " (not clean)"}`;
        this.#wake();
        resolve(this.#ending);
      };
    });
  }

  opened() {
    return new Promise((resolve, reject) => {
      this.#socket.onopen = () => resolve(this);
      this.#socket.onerror = (event) => reject(new Error(`connect: ${event.message ?? "the connection failed"}`));
    });
  }

  get subprotocol() {
    return this.#socket.protocol;
  }

  get socket() {
    return this.#socket;
  }

  send(message) {
    this.#socket.send(message);
  }

  async receive() {
    while (this.#arrived.length === 0) {
      if (this.#ending !== null) throw new Error(`the connection ended early: ${this.#ending}`);
      await new Promise((resolve) => (this.#wake = resolve));
    }
    return this.#arrived.shift();
  }

  /** Closes and waits for the end: "CODE REASON" of the peer's Close frame. */
  close(code, reason) {
    this.#socket.close(code, reason);
    return this.ended;
  }
}

/**
 * Plays the client's steps. `connect(path)` makes a WebSocket that offers OFFERED; `ping(socket, payload)` sends a Ping
 * and waits for its Pong, and is left out where that is impossible, as in browsers.
 */
export async function client(connect, ping) {
  const open = (path) => new Connection(connect(path)).opened();
  const echo = await open("/");
  equal("subprotocol", echo.subprotocol, "echo.v1");

  const messages = {
    text: TEXT,
    binary: pattern(1000),
    "empty text": "",
    "empty binary": pattern(0),
    "5 MiB": pattern(5 * 1024 * 1024),
  };
  for (const [step, message] of Object.entries(messages)) {
    echo.send(message);
    equal(step, await echo.receive(), message);
  }

  for (let number = 0; number < 2000; number++) echo.send(`message ${number}`);
  for (let number = 0; number < 2000; number++) equal("2,000 in a row", await echo.receive(), `message ${number}`);

  if (ping) await ping(echo.socket, "our ping");
  echo.send("ping me");
  equal("ping from the server", await echo.receive(), "pong their ping");

  const leaving = await open("/leaving");
  const answer = await leaving.close(4001, "bye");
  if (answer.endsWith("(not clean)")) throw new Error(`close by the client: ended with ${answer}`);
  echo.send("ending /leaving");
  equal("close by the client", await echo.receive(), "4001 bye");

  const left = await open("/left");
  left.send("close 4002 later");
  equal("close by the server", await left.ended, "4002 later");

  const last = await echo.close(1000, "");
  if (last.endsWith("(not clean)")) throw new Error(`the last close: ended with ${last}`);
}

/**
 * More steps, with a server behind a reverse proxy that goes away, comes back and ends; `report(line)` says which is done.
 * `connect(path)` as above.
 */
export async function restart(connect, report) {
  const open = () => new Connection(connect("/again")).opened();
  const again = await open();
  if (!again.socket.extensions.startsWith("permessage-deflate")) throw new Error("the messages are not compressed");
  await delay(SILENCE);
  again.send("awake");
  equal("after a silence", await again.receive(), "awake");
  await report("awake");

  const [code] = (await again.ended).split(" ");
  await report(`ended ${code}`);

  let next;
  while (!next) next = await open().catch(() => delay(RETRY));
  next.send("again");
  equal("after a restart", await next.receive(), "again");
  await report("again");

  const [last] = (await next.ended).split(" ");
  await report(`ended ${last}`);
}

const delay = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
