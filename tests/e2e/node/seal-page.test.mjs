// The example page in Chromium: it streams a sealed answer from the gateway, across origins.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

import { fetchKeys } from "../../../clients/seal-js/dist/index.js";

const base = process.env.BASE_URL;
const page_url = process.env.PAGE_URL;
let server;
let browser;
let key;

before(async () => {
  const script = fileURLToPath(new URL("../../../examples/sealed-page/serve.mjs", import.meta.url));
  server = spawn(process.execPath, [script, new URL(page_url).port], { stdio: ["ignore", "pipe", "inherit"] });
  await once(server.stdout, "data");
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
  key = (await fetchKeys(base))[0].fingerprint;
});
after(async () => {
  await browser?.close();
  server?.kill();
});

/** Ask on the page, and see everything that went over the network in the clear. */
async function ask(question, pin) {
  const page = await browser.newPage();
  const wire = [];
  page.on("request", (request) => wire.push(request.url(), request.postData() ?? "", JSON.stringify(request.headers())));
  const fields = new URLSearchParams({ gateway: new URL(base).origin, key: pin, model: "gpt-oss-120b", question });
  await page.goto(`${page_url}#${fields}`);
  const grew = [];
  await page.exposeFunction("grew", (length) => grew.push(length));
  await page.evaluate(() => {
    const answer = document.getElementById("answer");
    new MutationObserver(() => window.grew(answer.textContent.length)).observe(answer, { childList: true });
  });
  await page.click("#ask");
  await page.waitForSelector("body[data-state=done]");
  const text = (id) => page.textContent(`#${id}`);
  const found = { answer: await text("answer"), thinking: await text("thinking"), problem: await text("problem"), grew };
  if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT });
  await page.close();
  return { ...found, wire: wire.filter((text) => !text.startsWith(page_url)).join("\n") };
}

test("the page streams a sealed answer, and nothing of it shows on the network", async () => {
  const found = await ask("Say ever so slowly: one two three four five", key);
  assert.equal(found.problem, "");
  assert.ok(found.answer.length > 0);
  assert.ok(found.thinking.length > 0);
  assert.ok(new Set(found.grew).size > 3, `grew in ${found.grew.length} steps`);
  assert.match(found.wire, /ohttp-gateway/);
  for (const secret of ["slowly", "completions", "gpt-oss"]) assert.ok(!found.wire.includes(secret), secret);
});

test("the page refuses a gateway whose key is not the pinned one", async () => {
  const found = await ask("x", `sha256:${"0".repeat(64)}`);
  assert.match(found.problem, /^PinError: /);
  assert.equal(found.answer, "");
});
