// Node's `ws` with permessage-deflate: `client URL...` or `server`; see README.md.

import { createRequire } from "node:module";
import { agreement, exchange } from "./deflate.mjs";
import { Connection } from "./scenario.mjs";

const { WebSocket, WebSocketServer } = createRequire(new URL("../../target/peers/node/", import.meta.url))("ws");

// Its default leaves messages below 1,024 bytes uncompressed where the context is not kept.
const perMessageDeflate = { threshold: 0 };

// `socket.extensions` has the names alone.
const agreed = (socket) => agreement(socket._extensions["permessage-deflate"].params);

async function runClient(urls) {
  for (const url of urls) {
    const connection = await new Connection(new WebSocket(url, { perMessageDeflate })).opened();
    console.log(agreed(connection.socket));
    await exchange(connection, url);
  }
}

function runServer() {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate });
  server.on("connection", (socket) => {
    socket.send(agreed(socket));
    socket.on("message", (data, binary) => socket.send(data, { binary }));
  });
  server.on("listening", () => console.log(`listening ${server.address().port}`));
  process.stdin.resume().on("end", () => process.exit(0));
}

const [role, ...urls] = process.argv.slice(2);
if (role === "client") {
  runClient(urls).catch((difference) => {
    console.error(String(difference));
    process.exit(1);
  });
} else {
  runServer();
}
