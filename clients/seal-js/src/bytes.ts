// Bytes: joining, variable-length integers (RFC 9000, section 16), hexadecimal and base64.

/** Bytes that can be handed to the platform. */
export type Bytes = Uint8Array<ArrayBuffer>;

export function join(...parts: readonly Uint8Array[]): Bytes {
  const all = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

export function varint(value: number): Bytes {
  if (value < 0x40) return Uint8Array.of(value);
  if (value < 0x4000) return Uint8Array.of(0x40 | (value >> 8), value & 0xff);
  if (value < 0x4000_0000) {
    return Uint8Array.of(0x80 | (value >>> 24), (value >> 16) & 0xff, (value >> 8) & 0xff, value & 0xff);
  }
  const all = new Uint8Array(8);
  new DataView(all.buffer).setBigUint64(0, BigInt(value) | (3n << 62n));
  return all;
}

/** The integer at a position and where it ends; undefined if more bytes are needed. */
export function readVarint(data: Uint8Array, at: number): { value: number; end: number } | undefined {
  const first = data[at];
  if (first === undefined) return undefined;
  const size = 1 << (first >> 6);
  if (data.length < at + size) return undefined;
  let value = first & 0x3f;
  for (let i = 1; i < size; i++) value = value * 256 + (data[at + i] as number);
  return { value, end: at + size };
}

export function uint16(value: number): Bytes {
  return Uint8Array.of(value >> 8, value & 0xff);
}

export function readUint16(data: Uint8Array, at: number): number {
  return ((data[at] ?? 0) << 8) | (data[at + 1] ?? 0);
}

export function hex(data: Uint8Array): string {
  return Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function fromHex(text: string): Bytes {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

/** From base64, of either alphabet, with or without padding. Throws for anything else. */
export function fromBase64(text: string): Bytes {
  return Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
}

export const utf8 = (text: string): Bytes => new TextEncoder().encode(text);
