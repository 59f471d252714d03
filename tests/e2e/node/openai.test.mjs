// openai-node: chat, the streaming helper, parse, a tool loop, errors.
import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: "unused", maxRetries: 0 });
const model = "gpt-oss-120b";
const user = (content) => [{ role: "user", content }];
const weather = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Get the current weather for a city.",
    parameters: {
      type: "object",
      properties: { city: { type: "string" } },
      required: ["city"],
    },
  },
};

test("an answer has content, reasoning and usage", async () => {
  const done = await client.chat.completions.create({ model, messages: user("Say exactly: naïve 🎉") });
  assert.equal(done.choices[0].message.content, "naïve 🎉");
  assert.ok(done.choices[0].message.reasoning.length > 0);
  assert.equal(done.usage.total_tokens, done.usage.prompt_tokens + done.usage.completion_tokens);
});

test("the streaming helper gives the final message", async () => {
  const stream = client.chat.completions.stream({
    model,
    messages: user("Count from 1 to 9."),
    stream_options: { include_usage: true },
  });
  let text = "";
  stream.on("content", (delta) => (text += delta));
  const message = await stream.finalMessage();
  assert.equal(message.content, "1, 2, 3, 4, 5, 6, 7, 8, 9");
  assert.equal(text, message.content);
  assert.ok((await stream.totalUsage()).completion_tokens > 0);
});

test("the streaming helper assembles parallel calls", async () => {
  const stream = client.chat.completions.stream({
    model,
    messages: user("The weather in Paris and in Rome?"),
    tools: [weather],
  });
  const { choices } = await stream.finalChatCompletion();
  const calls = choices[0].message.tool_calls;
  assert.deepEqual(
    calls.map((call) => JSON.parse(call.function.arguments).city),
    ["Paris", "Rome"],
  );
  assert.equal(choices[0].finish_reason, "tool_calls");
});

test("parse gives what the schema says", async () => {
  const Person = z.object({ name: z.string(), age: z.number().int(), mood: z.enum(["glad", "sad"]) });
  const done = await client.chat.completions.parse({
    model,
    messages: user("Invent a person."),
    response_format: zodResponseFormat(Person, "person"),
  });
  assert.deepEqual(Person.parse(done.choices[0].message.parsed), done.choices[0].message.parsed);
});

test("runTools goes round the loop", async () => {
  const asked = [];
  const runner = client.chat.completions.runTools({
    model,
    messages: user("The weather in Oslo?"),
    tools: [
      zodFunction({
        name: "get_weather",
        description: "Get the current weather for a city.",
        parameters: z.object({ city: z.string() }),
        function: ({ city }) => {
          asked.push(city);
          return JSON.stringify({ sky: "clear" });
        },
      }),
    ],
  });
  assert.match(await runner.finalContent(), /sky is clear/);
  assert.deepEqual(asked, ["Oslo"]);
});

test("errors are the ones the client knows", async () => {
  await assert.rejects(
    client.chat.completions.create({ model, messages: user("x"), temperature: 9 }),
    (error) => error instanceof OpenAI.BadRequestError && error.param === "temperature",
  );
});
