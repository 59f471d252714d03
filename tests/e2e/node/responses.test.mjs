// openai-node: the Responses API, whole and streamed, stored and not, in the background.
import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: "unused", maxRetries: 0 });
const model = "gpt-oss-120b";
const weather = {
  type: "function",
  name: "get_weather",
  description: "Get the current weather for a city.",
  parameters: {
    type: "object",
    properties: { city: { type: "string" } },
    required: ["city"],
    additionalProperties: false,
  },
  strict: true,
};
const calls = (response) => response.output.filter((item) => item.type === "function_call");
const outputs = (response) =>
  calls(response).map((call, i) => ({
    type: "function_call_output",
    call_id: call.call_id,
    output: JSON.stringify({ sky: `${i} clouds` }),
  }));

test("an answer has text, reasoning and usage", async () => {
  const done = await client.responses.create({ model, input: "Say exactly: naïve 🎉" });
  assert.equal(done.output_text, "naïve 🎉");
  assert.deepEqual(
    done.output.map((item) => item.type),
    ["reasoning", "message"],
  );
  assert.equal(done.usage.total_tokens, done.usage.input_tokens + done.usage.output_tokens);
});

test("the streaming helper gives the final response", async () => {
  const stream = client.responses.stream({ model, input: "Count from 1 to 9." });
  let text = "";
  stream.on("response.output_text.delta", (event) => (text += event.delta));
  const done = await stream.finalResponse();
  assert.equal(text, "1, 2, 3, 4, 5, 6, 7, 8, 9");
  assert.equal(done.output_text, text);
});

test("parse gives what the schema says", async () => {
  const Person = z.object({ name: z.string(), age: z.number().int(), mood: z.enum(["glad", "sad"]) });
  const done = await client.responses.parse({
    model,
    input: "Invent a person.",
    text: { format: zodTextFormat(Person, "person") },
  });
  assert.deepEqual(Person.parse(done.output_parsed), done.output_parsed);
});

test("a stored tool loop goes on by the response before", async () => {
  const asked = { model, tools: [weather] };
  const first = await client.responses.create({ ...asked, input: "The weather in Paris and in Rome?" });
  assert.deepEqual(
    calls(first).map((call) => JSON.parse(call.arguments).city),
    ["Paris", "Rome"],
  );
  const second = await client.responses.create({
    ...asked,
    input: outputs(first),
    previous_response_id: first.id,
  });
  assert.match(second.output_text, /0 clouds[^]*1 clouds/);
});

test("a streamed tool loop that is not stored carries its reasoning encrypted", async () => {
  const asked = { model, tools: [weather], store: false, include: ["reasoning.encrypted_content"] };
  const input = [{ role: "user", content: "The weather in Paris?" }];
  const first = await client.responses.stream({ ...asked, input }).finalResponse();
  assert.ok(first.output[0].encrypted_content.length > 0);
  const second = await client.responses
    .stream({ ...asked, input: [...input, ...first.output, ...outputs(first)] })
    .finalResponse();
  assert.match(second.output_text, /0 clouds/);
});

test("a background response is polled, read again and deleted", async () => {
  const made = await client.responses.create({ model, input: "Count from 1 to 9.", background: true });
  let last;
  for await (const event of await client.responses.retrieve(made.id, { stream: true })) last = event;
  assert.equal(last.type, "response.completed");
  const done = await client.responses.retrieve(made.id);
  assert.equal(done.output_text, "1, 2, 3, 4, 5, 6, 7, 8, 9");
  await client.responses.delete(made.id);
  await assert.rejects(client.responses.retrieve(made.id), OpenAI.NotFoundError);
});

test("errors are the ones the client knows", async () => {
  await assert.rejects(
    client.responses.create({ model, input: "x", temperature: 9 }),
    (error) => error instanceof OpenAI.BadRequestError && error.param === "temperature",
  );
});
