// Streams a sealed chat completion into the page.
import { sealedFetch } from "./antiphon-seal.min.js";

const $ = (id) => document.getElementById(id);

for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
  if ($(name)) $(name).value = value;
}

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("ask").disabled = true;
  for (const name of ["thinking", "answer", "problem"]) $(name).textContent = "";
  try {
    await ask();
  } catch (error) {
    $("problem").textContent = `${error.name}: ${error.message}`;
  } finally {
    $("ask").disabled = false;
    document.body.dataset.state = "done";
  }
});

async function ask() {
  const apiKey = $("api-key").value;
  const response = await sealedFetch(
    new URL("/v1/chat/completions", $("gateway").value),
    {
      method: "POST",
      headers: { "content-type": "application/json", ...(apiKey && { authorization: `Bearer ${apiKey}` }) },
      body: JSON.stringify({
        model: $("model").value,
        messages: [{ role: "user", content: $("question").value }],
        stream: true,
      }),
    },
    { key: $("key").value, ...($("relay").value && { relay: $("relay").value }) },
  );
  if (!response.ok) throw new Error((await response.json()).error.message);
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const delta = JSON.parse(data).choices?.[0]?.delta;
    $("thinking").textContent += delta?.reasoning ?? "";
    $("answer").textContent += delta?.content ?? "";
  }
  throw new Error("the answer ended before its end");
}

/** The data of server-sent events. */
async function* events(body) {
  let rest = "";
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    const frames = (rest + piece.value).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      const data = frame.split("\n").filter((line) => line.startsWith("data:"));
      if (data.length > 0) yield data.map((line) => line.slice(5).trimStart()).join("\n");
    }
  }
}
