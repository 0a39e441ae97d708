// The exchange of compressed messages in README.md, for Node and for browsers.

import { equal } from "./scenario.mjs";

const AHEAD = 32;

const noise = makeNoise();

function makeNoise() {
  let state = 1;
  return Uint8Array.from({ length: 262_144 }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> 24;
  });
}

function size(number) {
  const place = number % 200;
  if (place === 0) return 102_400;
  if (place < 4) return 20_000;
  if (place < 20) return 3000;
  return place < 60 ? 600 : place - 60;
}

function records(number, length) {
  let text = "";
  for (let entry = 0; text.length < length; entry++) {
    text += `{"id":${number},"entry":${entry},"user":"Grüße ${number % 7}","on":true},`;
  }
  return text.slice(0, length);
}

function message(number) {
  const length = size(number);
  if (number % 3 === 0) return records(number, length);
  if (number % 3 === 1) return new TextEncoder().encode(records(number, length));
  const start = (number * 4099) % 159_744;
  return noise.slice(start, start + length);
}

/** Sends as many messages as the path of `url` says, and sees each come back. */
export async function exchange(connection, url) {
  const count = Number(new URL(url).pathname.slice(1));
  for (let number = 0; number < count + AHEAD; number++) {
    if (number < count) connection.send(message(number));
    if (number >= AHEAD) {
      const answered = number - AHEAD;
      equal(`message ${answered}`, await connection.receive(), message(answered));
    }
  }
  await connection.close(1000, "");
}

/** An agreement in words, by the parameters of the answer. */
export function agreement(parameters) {
  const one = (role) => {
    const takeover = parameters[`${role}_no_context_takeover`] ? "fresh" : "kept";
    return `${role} ${parameters[`${role}_max_window_bits`] ?? 15} ${takeover}`;
  };
  return `${one("server")}, ${one("client")}`;
}
