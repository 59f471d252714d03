// clients/seal-js in Node: against the gateway, and against a proxy that does harm.
import assert from "node:assert/strict";
import { createServer, request as send } from "node:http";
import { after, before, test } from "node:test";

import OpenAI from "openai";

import {
  KeyError,
  OpenError,
  OuterError,
  PinError,
  TruncatedError,
  createSealedFetch,
  fetchKeys,
  sealedFetch,
} from "../../../clients/seal-js/dist/index.js";

const base = process.env.BASE_URL;
const origin = new URL(base).origin;
const model = "gpt-oss-120b";
const chat = (content, more = {}) => ({
  method: "POST",
  headers: { "content-type": "application/json", authorization: "Bearer sk-inside" },
  body: JSON.stringify({ model, messages: [{ role: "user", content }], ...more }),
});
const url = `${base}/chat/completions`;

/** What the proxy does to the next answers; everything it saw. */
let harm;
const seen = [];
const proxy = createServer((inbound, outbound) => {
  const body = [];
  inbound.on("data", (piece) => body.push(piece));
  inbound.on("end", () => {
    seen.push(JSON.stringify([inbound.url, inbound.headers]), Buffer.concat(body).toString("latin1"));
    const options = { method: inbound.method, headers: { ...inbound.headers, host: new URL(origin).host } };
    const onward = send(origin + inbound.url, options, (answer) => {
      const pieces = [];
      if (!harm) outbound.writeHead(answer.statusCode, answer.headers);
      answer.on("data", (piece) => {
        seen.push(piece.toString("latin1"));
        if (harm) pieces.push(piece);
        else outbound.write(piece);
      });
      answer.on("end", () => {
        if (harm) harm(answer, Buffer.concat(pieces), outbound);
        else outbound.end();
      });
    });
    outbound.on("close", () => onward.destroy());
    onward.on("error", () => outbound.destroy());
    onward.end(Buffer.concat(body));
  });
});
let relay;
let key;
let config;

before(async () => {
  await new Promise((done) => proxy.listen(0, "127.0.0.1", done));
  relay = `http://127.0.0.1:${proxy.address().port}`;
  [config] = await fetchKeys(origin);
  key = config.fingerprint;
});
after(() => {
  proxy.closeAllConnections();
  proxy.close();
});

const rewritten = (change) => (answer, body, outbound) => {
  const { "content-length": _, ...headers } = answer.headers;
  outbound.writeHead(answer.statusCode, headers);
  outbound.end(change(body));
};
const sealedOnly = (change) => (answer, body, outbound) =>
  rewritten(answer.headers["content-type"]?.startsWith("message/") ? change : (same) => same)(answer, body, outbound);

test("an answer is an ordinary response", async () => {
  const response = await sealedFetch(url, chat("Say exactly: naïve 🎉"), { key });
  assert.equal(response.status, 200);
  assert.match(response.headers.get("content-type"), /^application\/json/);
  assert.equal((await response.json()).choices[0].message.content, "naïve 🎉");
});

test("a stream comes piece by piece and nothing of it shows outside", async () => {
  seen.length = 0;
  const asked = chat("Count from 1 to 9.", { stream: true });
  const response = await sealedFetch(url, asked, { key, relay });
  let pieces = 0;
  let text = "";
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    pieces += 1;
    text += piece;
  }
  assert.ok(pieces > 5, `${pieces} pieces`);
  assert.ok(text.endsWith("data: [DONE]\n\n"));
  const outside = seen.join("\n");
  for (const secret of ["Count from", "sk-inside", "chat/completions", "choices", "data:"]) {
    assert.ok(!outside.includes(secret), secret);
  }
});

test("openai-node is sealed with one line", async () => {
  const client = new OpenAI({
    baseURL: base, apiKey: "sk-inside", maxRetries: 0, fetch: createSealedFetch({ key, relay }),
  });
  const stream = client.chat.completions.stream({ model, messages: [{ role: "user", content: "Count from 1 to 9." }] });
  assert.equal(await stream.finalContent(), "1, 2, 3, 4, 5, 6, 7, 8, 9");
  await assert.rejects(
    client.chat.completions.create({ model, messages: [{ role: "user", content: "x" }], temperature: 9 }),
    (error) => error instanceof OpenAI.BadRequestError && error.param === "temperature",
  );
});

test("a large request goes in many chunks", async () => {
  const response = await sealedFetch(url, chat("x ".repeat(100_000), { max_tokens: 5 }), { key });
  assert.equal(response.status, 200);
});

test("a proxy that swaps the key is refused", async () => {
  harm = rewritten((list) => {
    const forged = Buffer.from(list);
    forged[10] ^= 1;
    return forged;
  });
  await assert.rejects(sealedFetch(url, chat("x"), { key, relay: `${relay}/?` }), PinError);
  harm = undefined;
});

test("what is cut off, flipped or of another request is an error, before and in a stream", async () => {
  const fetchSealed = createSealedFetch({ key, relay });
  await fetchSealed(url, chat("x"));
  const whole = async (change) => {
    harm = sealedOnly(change);
    try {
      return await (await fetchSealed(url, chat("Count from 1 to 9.", { stream: true }))).text();
    } finally {
      harm = undefined;
    }
  };
  let other;
  await whole((body) => (other = body));
  await assert.rejects(whole((body) => body.subarray(0, 10)), TruncatedError);
  await assert.rejects(whole((body) => body.subarray(0, body.length >> 1)), TruncatedError);
  await assert.rejects(whole((body) => body.subarray(0, body.length - 1)), OpenError);
  await assert.rejects(whole(() => other), OpenError);
  for (let i = 0; i < 40; i++) {
    await assert.rejects(
      whole((body) => {
        const flipped = Buffer.from(body);
        flipped[Math.floor((i / 40) * body.length)] ^= 1 << i % 8;
        return flipped;
      }),
      OpenError,
    );
  }
});

test("an answer in the clear is never believed", async () => {
  const fetchSealed = createSealedFetch({ key, relay });
  await fetchSealed(url, chat("x"));
  for (const status of [200, 401, 404, 429, 502]) {
    harm = (_, __, outbound) => {
      outbound.writeHead(status, { "content-type": "application/json" });
      outbound.end('{"error":{"message":"said in between"}}');
    };
    await assert.rejects(
      fetchSealed(url, chat("x")),
      (error) => error instanceof OuterError && error.status === status && /said in between/.test(error.message),
    );
  }
  harm = undefined;
});

test("a key that the gateway does not know ends in a PinError, another pin is tried", async () => {
  const encoded = (id, bytes = config.publicKey) =>
    Buffer.concat([Buffer.of(id, 0, 0x20), bytes, Buffer.of(0, 4, 0, 1, 0, 1)]).toString("base64");
  await assert.rejects(sealedFetch(url, chat("x"), { key: encoded(250) }), PinError);
  const response = await sealedFetch(url, chat("x"), { key: [encoded(251), key] });
  assert.equal(response.status, 200);
  await assert.rejects(sealedFetch(url, chat("x"), { key: [] }), /a key is needed/);
  await assert.rejects(sealedFetch(url, chat("x"), { key: "nonsense!" }), /neither a SHA-256/);
});

test("every suite works that the platform has; for the others an error says so", async () => {
  const [major, minor] = process.versions.node.split(".").map(Number);
  const modern = major > 24 || (major === 24 && minor >= 7); // ChaCha20 and ML-KEM in its Web Crypto
  const configs = await fetchKeys(origin);
  assert.deepEqual(configs.map(({ kem }) => kem), [0x0020, 0x0010, 0x647a]);
  for (const { id, kem, publicKey } of configs) {
    for (const aead of [1, 3]) {
      const one = Buffer.concat([Buffer.of(id, kem >> 8, kem & 255), publicKey, Buffer.of(0, 4, 0, 1, 0, aead)]);
      const asked = sealedFetch(url, chat("Say exactly: naïve 🎉"), { key: one.toString("base64") });
      if (modern || (kem !== 0x647a && aead === 1)) {
        assert.equal((await (await asked).json()).choices[0].message.content, "naïve 🎉");
      } else {
        await assert.rejects(asked, (error) => error instanceof KeyError && /none of the algorithms/.test(error.message));
      }
    }
  }
});

test("a wrong clock is put right by what the gateway says under seal", async () => {
  const real = Date.now;
  Date.now = () => real() - 86_400_000;
  try {
    const response = await createSealedFetch({ key })(`${base}/models`);
    assert.equal(response.status, 200);
  } finally {
    Date.now = real;
  }
});

test("aborting ends the request", async () => {
  const abort = new AbortController();
  const asked = { ...chat("ever so slowly", { stream: true }), signal: abort.signal };
  const response = await sealedFetch(url, asked, { key });
  const reader = response.body.getReader();
  assert.equal((await reader.read()).done, false);
  abort.abort();
  await assert.rejects((async () => {
    while (!(await reader.read()).done);
  })(), { name: "AbortError" });
});
