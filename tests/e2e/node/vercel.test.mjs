// The Vercel AI SDK over its OpenAI-compatible provider.
import assert from "node:assert/strict";
import { test } from "node:test";

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const provider = createOpenAICompatible({
  name: "antiphon",
  baseURL: process.env.BASE_URL,
  apiKey: "unused",
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const model = provider("gpt-oss-120b");
const weather = (asked) =>
  tool({
    description: "Get the current weather for a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => {
      asked.push(city);
      return { city, sky: "clear" };
    },
  });

test("generateText gives text, reasoning and usage", async () => {
  const done = await generateText({ model, prompt: "Say exactly: naïve 🎉", maxRetries: 0 });
  assert.equal(done.text, "naïve 🎉");
  assert.ok(done.reasoningText.length > 0);
  assert.ok(done.usage.outputTokens > 0);
});

test("streamText gives text and reasoning in pieces", async () => {
  const result = streamText({ model, prompt: "Count from 1 to 9.", maxRetries: 0 });
  let [text, reasoning] = ["", ""];
  for await (const part of result.fullStream) {
    assert.notEqual(part.type, "error", part.error);
    if (part.type === "text-delta") text += part.text;
    if (part.type === "reasoning-delta") reasoning += part.text;
  }
  assert.equal(text, "1, 2, 3, 4, 5, 6, 7, 8, 9");
  assert.ok(reasoning.length > 0);
  assert.equal(await result.finishReason, "stop");
});

for (const [name, call] of [
  ["generateText", generateText],
  ["streamText", async (options) => streamText(options)],
]) {
  test(`${name} goes round a tool loop`, async () => {
    const asked = [];
    const result = await call({
      model,
      prompt: "The weather in Paris and in Rome?",
      tools: { get_weather: weather(asked) },
      stopWhen: stepCountIs(3),
      maxRetries: 0,
    });
    assert.match(await result.text, /sky is clear/);
    assert.deepEqual(asked.sort(), ["Paris", "Rome"]);
    assert.equal((await result.steps).length, 2);
  });
}

test("an output schema is filled in", async () => {
  const { output } = await generateText({
    model,
    prompt: "Invent a person.",
    output: Output.object({ schema: z.object({ name: z.string(), age: z.number() }) }),
    maxRetries: 0,
  });
  assert.equal(typeof output.name, "string");
  assert.equal(typeof output.age, "number");
});
