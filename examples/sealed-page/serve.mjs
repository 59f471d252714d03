// Serves this page, with the module that clients/seal-js built: node serve.mjs [PORT]
import { createReadStream } from "node:fs";
import { createServer } from "node:http";

const FILES = {
  "/": ["index.html", "text/html; charset=utf-8"],
  "/page.js": ["page.js", "text/javascript"],
  "/antiphon-seal.min.js": ["../../clients/seal-js/dist/antiphon-seal.min.js", "text/javascript"],
};

const server = createServer((request, response) => {
  const [file, type] = FILES[new URL(request.url, "http://page").pathname] ?? [];
  if (file === undefined) {
    response.writeHead(404).end();
    return;
  }
  const stream = createReadStream(new URL(file, import.meta.url));
  stream.on("open", () => response.writeHead(200, { "content-type": type }));
  stream.on("error", () => response.writeHead(500).end("Build it first: make test-clients, or npm install in clients/seal-js"));
  stream.pipe(response);
});

server.listen(Number(process.argv[2] ?? 8080), "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${server.address().port}/`);
});
