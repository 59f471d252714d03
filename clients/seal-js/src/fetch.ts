// `fetch`, sealed.

import { ResponseReader, encodeRequest } from "./bhttp.js";
import type { Bytes } from "./bytes.js";
import { KeyError, OuterError, PinError } from "./errors.js";
import { type KeyConfig, type Pin, decodeKeys, parsePin } from "./keys.js";
import { type ChunkReader, sealRequest } from "./ohttp.js";

const GATEWAY = "/.well-known/ohttp-gateway";
const REQUEST = "message/ohttp-chunked-req";
const RESPONSE = "message/ohttp-chunked-res";
const KEYS = "application/ohttp-keys";
const KEY_PROBLEM = "https://iana.org/assignments/http-problem-types#ohttp-key";
const DATE_PROBLEM = "https://iana.org/assignments/http-problem-types#date";
const MAX_PROBLEM = 16 * 1024;
const WITHOUT_BODY = new Set([204, 205, 304]);

export interface SealOptions {
  /** The gateway's key: the SHA-256 fingerprint that `antiphon serve --seal` prints, or its whole
   * configuration in base64 or hexadecimal. Several: any of them will do, as over a rotation. */
  readonly key: string | readonly string[];
  /** A relay to send through. */
  readonly relay?: string | URL;
  /** Where the gateway takes sealed requests; default: the well-known path of the request's origin. */
  readonly gateway?: string | URL;
  /** What is used outside. */
  readonly fetch?: typeof fetch;
}

/** The configurations that a gateway offers, the one in use first. Whoever answers can have made
 * them up: compare fingerprints before you pin one. */
export async function fetchKeys(url: string | URL, outside: typeof fetch = fetch): Promise<KeyConfig[]> {
  const answer = await outside(new URL(GATEWAY, url), { ...PLAIN, headers: { accept: KEYS } });
  return readKeys(answer);
}

/** A `fetch` whose every request is sealed; for `new OpenAI({ fetch: createSealedFetch({ key }) })`. */
export function createSealedFetch(options: SealOptions): typeof fetch {
  const sealer = new Sealer(options);
  return (url, init) => sealer.fetch(url, init);
}

const sealers = new Map<string, Sealer>();

/** One sealed request. The response is an ordinary one; its body streams, and errors with a
 * TruncatedError if it is cut off. Rejects with a SealError for all that is wrong with the seal. */
export function sealedFetch(
  url: string | URL | Request,
  init: RequestInit | undefined,
  options: SealOptions,
): Promise<Response> {
  if (options.fetch !== undefined) return new Sealer(options).fetch(url, init);
  const name = JSON.stringify([options.key, String(options.relay ?? ""), String(options.gateway ?? "")]);
  let sealer = sealers.get(name);
  if (sealer === undefined) sealers.set(name, (sealer = new Sealer(options)));
  return sealer.fetch(url, init);
}

const PLAIN = {
  cache: "no-store",
  credentials: "omit",
  redirect: "error",
  referrerPolicy: "no-referrer",
} as const satisfies RequestInit;

class Sealer {
  readonly #pins: Promise<Pin[]>;
  readonly #chosen = new Map<string, KeyConfig>();
  readonly #refused = new Set<string>();
  #offset = 0;

  constructor(private readonly options: SealOptions) {
    const keys = typeof options.key === "string" ? [options.key] : [...(options.key ?? [])];
    this.#pins = keys.length > 0 ? Promise.all(keys.map(parsePin)) : Promise.reject(new KeyError(NO_PIN));
    this.#pins.catch(() => undefined); // told to whoever fetches
  }

  async fetch(input: string | URL | Request, init?: RequestInit): Promise<Response> {
    const request = new Request(input, init);
    const url = new URL(request.url);
    const content = new Uint8Array(await request.arrayBuffer());
    const resource = this.#resource(url);
    for (let left = 2; ; left--) {
      const config = await this.#config(resource);
      const fields = [...request.headers, ["date", new Date(Date.now() + this.#offset).toUTCString()] as const];
      const message = encodeRequest(request.method, url, fields, content);
      const { body, answer } = await sealRequest(config, message);
      const outer = await this.#outside(resource, {
        ...PLAIN,
        method: "POST",
        headers: { accept: RESPONSE, "content-type": REQUEST, incremental: "?1" },
        body,
        signal: request.signal,
      });
      if (outer.status !== 200 || mediaType(outer.headers) !== RESPONSE || outer.body === null) {
        const error = await outerError(outer);
        if (error.problem !== KEY_PROBLEM || left === 0) throw error;
        this.#refused.add(config.fingerprint);
        this.#chosen.delete(resource.href);
        continue;
      }
      const opened = await Opened.of(outer.body, answer);
      const offset = left > 0 ? await opened.offset() : undefined;
      if (offset === undefined) return opened.response();
      this.#offset = offset;
    }
  }

  #outside(url: URL, init: RequestInit): Promise<Response> {
    return (this.options.fetch ?? fetch)(url, init);
  }

  #resource(url: URL): URL {
    const given = this.options.relay ?? this.options.gateway;
    if (given === undefined) return new URL(GATEWAY, url);
    const resource = new URL(given);
    if (resource.pathname === "/") resource.pathname = GATEWAY;
    return resource;
  }

  /** The pinned configuration to seal for. A pin never moves; a refused one is used no more. */
  async #config(resource: URL): Promise<KeyConfig> {
    const known = this.#chosen.get(resource.href);
    if (known !== undefined) return known;
    const pins = await this.#pins;
    const usable = pins.filter((pin) => !this.#refused.has(pin.fingerprint));
    if (usable.length === 0) {
      throw new PinError(`the gateway no longer knows the pinned key ${list(pins)}. ${ADVICE}`);
    }
    let config = usable.every((pin) => pin.config) ? usable[0]?.config : undefined;
    if (config === undefined) {
      const offered = await readKeys(await this.#outside(resource, { ...PLAIN, headers: { accept: KEYS } }));
      config = offered.find((one) => usable.some((pin) => pin.fingerprint === one.fingerprint));
      if (config === undefined) {
        throw new PinError(`the gateway offers the key ${list(offered)}, not the pinned ${list(usable)}. ${ADVICE}`);
      }
    }
    this.#chosen.set(resource.href, config);
    return config;
  }
}

const NO_PIN = "a key is needed: pass the fingerprint that 'antiphon serve --seal' prints";
const ADVICE =
  "Someone may be in between, or the key was rotated: ask the gateway's operator for its fingerprint";

const list = (keys: readonly Pin[]): string => keys.map((key) => key.fingerprint).join(", ");

/** An answer whose head has been opened. */
class Opened {
  private constructor(
    private readonly outer: ReadableStreamDefaultReader<Uint8Array>,
    private readonly chunks: ChunkReader,
    private readonly message: ResponseReader,
    private readonly content: Bytes[],
    private ended: boolean,
  ) {}

  static async of(body: ReadableStream<Uint8Array>, chunks: ChunkReader): Promise<Opened> {
    const opened = new Opened(body.getReader(), chunks, new ResponseReader(), [], false);
    try {
      while (!opened.message.head) await opened.#more();
    } catch (error) {
      opened.outer.cancel().catch(() => undefined);
      throw error;
    }
    return opened;
  }

  response(): Response {
    const status = this.message.status as number;
    const headers = new Headers();
    for (const [name, value] of this.message.fields) headers.append(name, value);
    const stream = new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          try {
            while (this.content.length === 0 && !this.ended) await this.#more();
          } catch (error) {
            this.outer.cancel().catch(() => undefined);
            throw error;
          }
          for (const piece of this.content.splice(0)) controller.enqueue(piece);
          if (this.ended) controller.close();
        },
        cancel: (reason) => this.outer.cancel(reason),
      },
      { highWaterMark: 0 },
    );
    return new Response(WITHOUT_BODY.has(status) ? null : stream, { status, headers });
  }

  /** How far off the date of the request was, if the gateway says, under seal, that it was. */
  async offset(): Promise<number | undefined> {
    const header = (name: string): string => this.message.fields.find(([n]) => n === name)?.[1] ?? "";
    if (this.message.status !== 400 || !header("content-type").startsWith("application/problem+json")) return undefined;
    while (!this.ended && size(this.content) < MAX_PROBLEM) await this.#more();
    const time = Date.parse(header("date"));
    const problem = parse(new TextDecoder().decode(await new Blob(this.content).arrayBuffer()));
    return problem?.type === DATE_PROBLEM && !Number.isNaN(time) ? time - Date.now() : undefined;
  }

  async #more(): Promise<void> {
    const { done, value } = await this.outer.read();
    if (!done) {
      for (const chunk of await this.chunks.feed(value)) this.content.push(...this.message.feed(chunk));
      return;
    }
    this.content.push(...this.message.feed(await this.chunks.end()));
    this.message.end();
    this.ended = true;
  }
}

const size = (pieces: readonly Uint8Array[]): number => pieces.reduce((sum, piece) => sum + piece.length, 0);

function mediaType(headers: Headers): string {
  return (headers.get("content-type") ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
}

async function readKeys(answer: Response): Promise<KeyConfig[]> {
  if (answer.status !== 200) throw await outerError(answer);
  if (mediaType(answer.headers) !== KEYS) throw new KeyError("the gateway does not answer with a list of keys");
  return decodeKeys(new Uint8Array(await answer.arrayBuffer()));
}

async function outerError(answer: Response): Promise<OuterError> {
  const problem = parse((await answer.text()).slice(0, MAX_PROBLEM));
  const said = problem?.error?.message ?? problem?.title;
  const what =
    answer.status === 200
      ? "the answer is not sealed: something in between answered"
      : `the sealed request was refused in the clear with status ${answer.status}`;
  const type = typeof problem?.type === "string" ? problem.type : undefined;
  return new OuterError(typeof said === "string" ? `${what}: ${said.slice(0, 300)}` : what, answer.status, type);
}

interface Problem {
  type?: unknown;
  title?: unknown;
  error?: { message?: unknown };
}

function parse(text: string): Problem | undefined {
  try {
    const found: unknown = JSON.parse(text);
    return typeof found === "object" && found !== null ? (found as Problem) : undefined;
  } catch {
    return undefined;
  }
}

