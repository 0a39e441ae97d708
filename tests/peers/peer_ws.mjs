// Node's `ws` as a peer: `client URL [--ca FILE]` or `server [--cert FILE --key FILE]`; see README.md.

import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";
import { OFFERED, client, equal } from "./scenario.mjs";

const { WebSocket, WebSocketServer } = createRequire(new URL("../../target/peers/node/", import.meta.url))("ws");

// In milliseconds, and longer than a test may take, so that an ending that is not clean cannot pass by waiting.
const closeTimeout = 120_000;

async function runClient(url, ca) {
  const connect = (path) => new WebSocket(url.replace(/\/$/, "") + path, OFFERED, { ca, closeTimeout });
  await client(connect, ping);
  console.log("passed");
}

async function ping(socket, payload) {
  const pong = new Promise((resolve) => socket.once("pong", resolve));
  socket.ping(payload);
  equal("ping", (await pong).toString(), payload);
}

function runServer(cert, key) {
  const listener = cert ? https.createServer({ cert, key }) : http.createServer();
  const server = new WebSocketServer({
    server: listener,
    closeTimeout,
    handleProtocols: (offered) => offered.has("echo.v1") && "echo.v1",
  });
  const endings = new Endings();
  server.on("connection", (socket, request) => {
    socket.on("message", (data, isBinary) => answer(socket, isBinary ? data : data.toString(), endings));
    socket.on("close", (code, reason) => endings.set(request.url, `${code} ${reason}`));
  });
  listener.listen(0, "127.0.0.1", () => console.log(`listening ${listener.address().port}`));
  process.stdin.resume().on("end", () => process.exit(0));
}

async function answer(socket, message, endings) {
  const words = typeof message === "string" ? message.split(" ") : [];
  if (message === "ping me") {
    await ping(socket, "their ping");
    socket.send("pong their ping");
  } else if (words[0] === "ending") {
    socket.send(await endings.of(words[1]));
  } else if (words[0] === "close") {
    socket.close(Number(words[1]), words.slice(2).join(" "));
  } else {
    socket.send(message);
  }
}

/** How the connection of each path ended. */
class Endings {
  #known = new Map();

  #entry(path) {
    if (!this.#known.has(path)) this.#known.set(path, withResolvers());
    return this.#known.get(path);
  }

  set(path, ending) {
    this.#entry(path).resolve(ending);
  }

  of(path) {
    return this.#entry(path).promise;
  }
}

function withResolvers() {
  const entry = {};
  entry.promise = new Promise((resolve) => (entry.resolve = resolve));
  return entry;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { ca: { type: "string" }, cert: { type: "string" }, key: { type: "string" } },
});
const file = (path) => path && readFileSync(path);
const [role, url] = positionals;
if (role === "client") {
  runClient(url, file(values.ca)).catch((difference) => {
    console.error(String(difference));
    process.exit(1);
  });
} else {
  runServer(file(values.cert), file(values.key));
}
