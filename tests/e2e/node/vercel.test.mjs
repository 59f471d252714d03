// The Vercel AI SDK: its OpenAI-compatible provider, which speaks Chat Completions, and its OpenAI
// provider, which speaks Responses.
import assert from "node:assert/strict";
import { test } from "node:test";

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const baseURL = process.env.BASE_URL;
const compatible = createOpenAICompatible({
  name: "antiphon",
  baseURL,
  apiKey: "unused",
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const openai = createOpenAI({ baseURL, apiKey: "unused" });
const name = "gpt-oss-120b";
// What makes that provider treat a model as one that reasons: else it knows the names of OpenAI's.
const options = (more) => ({
  openai: { forceReasoning: true, include: ["reasoning.encrypted_content"], ...more },
});
// `shown`: whether reasoning is. Of Responses that provider shows nothing but summaries.
const ways = {
  chat: { shown: true, asked: { model: compatible(name) } },
  "responses, stored": {
    shown: false,
    asked: { model: openai.responses(name), providerOptions: options({ store: true }) },
  },
  "responses, not stored": {
    shown: false,
    asked: { model: openai.responses(name), providerOptions: options({ store: false }) },
  },
};
const weather = (asked) =>
  tool({
    description: "Get the current weather for a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => {
      asked.push(city);
      return { city, sky: "clear" };
    },
  });

for (const [api, way] of Object.entries(ways)) {
  test(`${api}: generateText gives text, reasoning and usage`, async () => {
    const done = await generateText({ ...way.asked, prompt: "Say exactly: naïve 🎉", maxRetries: 0 });
    assert.equal(done.text, "naïve 🎉");
    assert.equal((done.reasoningText ?? "").length > 0, way.shown);
    assert.ok(done.usage.outputTokenDetails.reasoningTokens > 0);
  });

  test(`${api}: streamText gives text and reasoning in pieces`, async () => {
    const result = streamText({ ...way.asked, prompt: "Count from 1 to 9.", maxRetries: 0 });
    let [text, reasoning] = ["", ""];
    for await (const part of result.fullStream) {
      assert.notEqual(part.type, "error", part.error);
      if (part.type === "text-delta") text += part.text;
      if (part.type === "reasoning-delta") reasoning += part.text;
    }
    assert.equal(text, "1, 2, 3, 4, 5, 6, 7, 8, 9");
    assert.equal(reasoning.length > 0, way.shown);
    assert.equal(await result.finishReason, "stop");
  });

  for (const [called, call] of [
    ["generateText", generateText],
    ["streamText", async (options) => streamText(options)],
  ]) {
    test(`${api}: ${called} goes round a tool loop`, async () => {
      const asked = [];
      const result = await call({
        ...way.asked,
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

  test(`${api}: an output schema is filled in`, async () => {
    const { output } = await generateText({
      ...way.asked,
      prompt: "Invent a person.",
      output: Output.object({ schema: z.object({ name: z.string(), age: z.number() }) }),
      maxRetries: 0,
    });
    assert.equal(typeof output.name, "string");
    assert.equal(typeof output.age, "number");
  });
}
