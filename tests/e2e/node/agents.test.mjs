// The OpenAI Agents SDK for JavaScript, over the Responses API, which is its default.
import assert from "node:assert/strict";
import { test } from "node:test";

import {
  Agent,
  run,
  setDefaultOpenAIClient,
  setTracingDisabled,
  tool,
} from "@openai/agents";
import OpenAI from "openai";
import { z } from "zod";

setTracingDisabled(true);
setDefaultOpenAIClient(
  new OpenAI({ baseURL: process.env.BASE_URL, apiKey: "unused", maxRetries: 0 }),
);

const agent = (asked, more = {}) =>
  new Agent({
    name: "Tester",
    instructions: "Help.",
    model: "gpt-oss-120b",
    tools: [
      tool({
        name: "get_weather",
        description: "Get the current weather for a city.",
        parameters: z.object({ city: z.string() }),
        execute: async ({ city }) => {
          asked.push(city);
          return { city, sky: "clear" };
        },
      }),
    ],
    ...more,
  });

test("a run calls the tool and answers", async () => {
  const asked = [];
  const result = await run(agent(asked), "The weather in Oslo?");
  assert.deepEqual(asked, ["Oslo"]);
  assert.match(result.finalOutput, /sky is clear/);
});

test("a streamed run gives reasoning, calls and text", async () => {
  const asked = [];
  const result = await run(agent(asked), "The weather in Paris and in Rome?", { stream: true });
  const items = [];
  let text = "";
  for await (const event of result) {
    if (event.type === "run_item_stream_event") items.push(event.item.type);
    if (event.type === "raw_model_stream_event" && event.data.type === "output_text_delta")
      text += event.data.delta;
  }
  await result.completed;
  assert.deepEqual(asked.sort(), ["Paris", "Rome"]);
  assert.equal(items.filter((type) => type === "tool_call_item").length, 2);
  assert.ok(items.includes("reasoning_item"));
  assert.equal(text, result.finalOutput);
});

test("a second turn goes on by the response before", async () => {
  const made = agent([], { tools: [] });
  const first = await run(made, "The code word is walrus.");
  const second = await run(made, "What was the code word?", {
    previousResponseId: first.lastResponseId,
  });
  assert.match(second.finalOutput, /walrus/);
});

test("a second turn sends the first one's items back", async () => {
  const made = agent([], {
    modelSettings: {
      store: false,
      providerData: { include: ["reasoning.encrypted_content"] },
    },
  });
  const first = await run(made, "The weather in Oslo? The code word is walrus.");
  const question = "Do not use any tool. What was the code word?";
  const second = await run(made, [...first.history, { role: "user", content: question }]);
  assert.match(second.finalOutput, /walrus/);
});

test("an output type is filled in", async () => {
  const Event = z.object({ name: z.string(), participants: z.array(z.string()) });
  const result = await run(agent([], { tools: [], outputType: Event }), "Invent an event.");
  assert.deepEqual(Event.parse(result.finalOutput), result.finalOutput);
});
