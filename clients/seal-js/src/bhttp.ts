// Binary HTTP (RFC 9292): requests of known length, and responses of either kind as they come.

import { type Bytes, join, readVarint, utf8, varint } from "./bytes.js";
import { BinaryHttpError, TruncatedError } from "./errors.js";

const MAX_FIELDS = 64 * 1024;
const MAX_LINES = 256;
const MAX_INFORMATIONAL = 16;
const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const IN_VALUE = /^[^\0\r\n]*$/;
const OF_A_CONNECTION = new Set([
  "connection", "host", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade",
]);

export type Fields = readonly (readonly [name: string, value: string])[];

export function encodeRequest(method: string, url: URL, fields: Fields, content: Uint8Array): Bytes {
  const lines = fields
    .map(([name, value]) => [name.toLowerCase(), value.trim()] as const)
    .filter(([name]) => !OF_A_CONNECTION.has(name))
    .map(([name, value]) => {
      if (!NAME.test(name) || !IN_VALUE.test(value)) throw new BinaryHttpError(`the field ${name} is not valid`);
      return join(prefixed(utf8(name)), prefixed(latin1(value)));
    });
  const target = [method, url.protocol.slice(0, -1), url.host, url.pathname + url.search];
  return join(
    varint(0),
    ...target.map((part) => prefixed(utf8(part))),
    prefixed(join(...lines)),
    prefixed(content),
    varint(0),
  );
}

function prefixed(data: Uint8Array): Bytes {
  return join(varint(data.length), data);
}

function latin1(text: string): Bytes {
  return Uint8Array.from(text, (c) => {
    const code = c.charCodeAt(0);
    if (code > 0xff) throw new BinaryHttpError("a field value holds a character that it cannot have");
    return code;
  });
}

/** Where reading is: waiting for more bytes is leaving and coming back to the same state. */
type State = "framing" | "status" | "fields" | "size" | "content" | "trailers" | "padding";

/** Feed it bytes in any pieces. */
export class ResponseReader {
  status: number | undefined;
  readonly fields: [string, string][] = [];
  /** Whether status and fields are there. */
  head = false;
  /** Whether the message is whole; known after `end`. */
  complete = false;

  #state: State = "framing";
  #known = false;
  #buffer: Uint8Array = new Uint8Array();
  #left = 0;
  #interim = 0;
  #begun = false;

  /** The pieces of content that these bytes complete. Throws BinaryHttpError. */
  feed(data: Uint8Array): Bytes[] {
    this.#buffer = this.#buffer.length === 0 ? data : join(this.#buffer, data);
    const content: Bytes[] = [];
    while (this.#step(content));
    return content;
  }

  /** Nothing follows. Throws if the message is cut off where it must not be. */
  end(): void {
    const state = this.#state;
    const cutHere = this.#buffer.length === 0;
    // A message may end before a part that would be empty (RFC 9292, section 3.8).
    const beforeContent = state === "fields" || (state === "size" && !this.#begun);
    const mayEnd = state === "padding" || (cutHere && (state === "trailers" || beforeContent));
    if (!mayEnd || this.status === undefined || (state === "fields" && this.status < 200)) {
      throw new TruncatedError("the message in the sealed answer is cut off");
    }
    this.complete = this.head = true;
  }

  #step(content: Bytes[]): boolean {
    switch (this.#state) {
      case "framing": {
        const framing = this.#number();
        if (framing === undefined) return false;
        if (framing !== 1 && framing !== 3) throw new BinaryHttpError("the message is not a binary HTTP response");
        this.#known = framing === 1;
        return this.#go("status");
      }
      case "status": {
        const status = this.#number();
        if (status === undefined) return false;
        if (status < 100 || status > 599) throw new BinaryHttpError("the status is not 100 to 599");
        if (status < 200 && ++this.#interim > MAX_INFORMATIONAL) {
          throw new BinaryHttpError("too many informational responses");
        }
        this.status = status;
        return this.#go("fields");
      }
      case "fields": {
        const fields = this.#section();
        if (fields === undefined) return false;
        if ((this.status as number) < 200) {
          this.status = undefined;
          return this.#go("status");
        }
        this.fields.push(...fields);
        this.head = true;
        return this.#go("size");
      }
      case "size": {
        const size = this.#number();
        if (size === undefined) return false;
        this.#left = size;
        this.#begun = true;
        return this.#go(size === 0 ? "trailers" : "content");
      }
      case "content": {
        const piece = this.#buffer.slice(0, this.#left);
        if (piece.length === 0) return false;
        content.push(piece);
        this.#left -= piece.length;
        this.#buffer = this.#buffer.subarray(piece.length);
        if (this.#left > 0) return false;
        return this.#go(this.#known ? "trailers" : "size");
      }
      case "trailers":
        return this.#section() !== undefined && this.#go("padding");
      case "padding":
        if (this.#buffer.some((byte) => byte !== 0)) throw new BinaryHttpError("padding is not zero");
        this.#buffer = new Uint8Array();
        return false;
    }
  }

  #go(state: State): true {
    this.#state = state;
    return true;
  }

  #number(): number | undefined {
    const found = readVarint(this.#buffer, 0);
    if (found !== undefined) this.#buffer = this.#buffer.subarray(found.end);
    return found?.value;
  }

  /** A section of fields, once it is all there. */
  #section(): [string, string][] | undefined {
    const fields: [string, string][] = [];
    let at = 0;
    let stop = Number.POSITIVE_INFINITY;
    if (this.#known) {
      const size = readVarint(this.#buffer, 0);
      if (size === undefined) return undefined;
      limit(size.value, MAX_FIELDS);
      at = size.end;
      stop = size.end + size.value;
      if (this.#buffer.length < stop) return undefined;
    }
    while (at < stop) {
      const name = this.#prefixed(at);
      if (name === undefined) return undefined;
      at = name.end;
      if (name.data.length === 0) {
        if (this.#known) throw new BinaryHttpError("a field name is empty");
        break;
      }
      const value = this.#prefixed(at);
      if (value === undefined) return undefined;
      at = value.end;
      fields.push([text(name.data), text(value.data)]);
      limit(fields.length, MAX_LINES);
    }
    if (at > stop && this.#known) throw new BinaryHttpError("a field is longer than its section");
    for (const [name, value] of fields) {
      if (!NAME.test(name) || !IN_VALUE.test(value)) throw new BinaryHttpError("a field is not valid");
    }
    this.#buffer = this.#buffer.subarray(at);
    return fields;
  }

  #prefixed(at: number): { data: Uint8Array; end: number } | undefined {
    const size = readVarint(this.#buffer, at);
    if (size === undefined) return undefined;
    limit(size.value, MAX_FIELDS);
    limit(size.end, MAX_FIELDS);
    const end = size.end + size.value;
    if (this.#buffer.length < end) return undefined;
    return { data: this.#buffer.subarray(size.end, end), end };
  }
}

function limit(size: number, most: number): void {
  if (size > most) throw new BinaryHttpError("a part of the message is over its limit");
}

function text(data: Uint8Array): string {
  return Array.from(data, (byte) => String.fromCharCode(byte)).join("");
}
