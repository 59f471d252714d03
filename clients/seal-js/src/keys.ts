// Key configurations (RFC 9458, section 3), fingerprints and pins.

import { type Bytes, fromBase64, fromHex, hex, readUint16 } from "./bytes.js";
import { KeyError } from "./errors.js";

const MAX_KEYS = 64 * 1024;
const PUBLIC_BYTES: Readonly<Record<number, number>> = { 0x0010: 65, 0x0020: 32, 0x647a: 1216 };

/** One public key of a gateway, and what may be done with it. */
export interface KeyConfig {
  readonly id: number;
  readonly kem: number;
  readonly publicKey: Bytes;
  readonly ciphers: readonly { readonly kdf: number; readonly aead: number }[];
  /** `sha256:` and 64 hexadecimal digits, of the whole configuration. */
  readonly fingerprint: string;
}

/** What a client was told of the gateway's key beforehand. */
export interface Pin {
  readonly fingerprint: string;
  readonly config?: KeyConfig;
}

async function fingerprintOf(encoded: Bytes): Promise<string> {
  return `sha256:${hex(new Uint8Array(await crypto.subtle.digest("SHA-256", encoded)))}`;
}

/** Throws KeyError, also for a KEM that is not known. */
export async function decodeConfig(encoded: Bytes): Promise<KeyConfig> {
  const kem = readUint16(encoded, 1);
  const size = PUBLIC_BYTES[kem];
  if (encoded.length < 3 || size === undefined) throw new KeyError("a key configuration is not one, or for an unknown KEM");
  const pairs = encoded.slice(3 + size + 2);
  if (readUint16(encoded, 3 + size) !== pairs.length || pairs.length === 0 || pairs.length % 4 !== 0) {
    throw new KeyError("a key configuration has the wrong length");
  }
  const ciphers = Array.from({ length: pairs.length / 4 }, (_, i) => ({
    kdf: readUint16(pairs, 4 * i),
    aead: readUint16(pairs, 4 * i + 2),
  }));
  return {
    id: encoded[0] as number,
    kem,
    publicKey: encoded.slice(3, 3 + size),
    ciphers,
    fingerprint: await fingerprintOf(encoded),
  };
}

/** The configurations of an `application/ohttp-keys` list, those for unknown KEMs left out. A list
 * with any mistake is refused as a whole (RFC 9458, section 3.2). Throws KeyError. */
export async function decodeKeys(data: Bytes): Promise<KeyConfig[]> {
  if (data.length > MAX_KEYS) throw new KeyError("the list of key configurations is too long");
  const configs: KeyConfig[] = [];
  for (let at = 0; at < data.length; ) {
    const size = readUint16(data, at);
    const one = data.slice(at + 2, at + 2 + size);
    if (data.length < at + 2 || one.length !== size || size < 3) {
      throw new KeyError("the list of key configurations is cut off or damaged");
    }
    at += 2 + size;
    if (readUint16(one, 1) in PUBLIC_BYTES) configs.push(await decodeConfig(one));
  }
  if (configs.length === 0) throw new KeyError("none of the gateway's key configurations can be used");
  return configs;
}

/** A fingerprint, with or without `sha256:`, or a configuration in base64 or hexadecimal. */
export async function parsePin(given: string): Promise<Pin> {
  const found = /^(?:sha256:)?([0-9a-f]{64})$/i.exec(given.trim());
  if (found) return { fingerprint: `sha256:${(found[1] as string).toLowerCase()}` };
  let data: Bytes;
  try {
    data = /^(?:[0-9a-f]{2})+$/i.test(given.trim()) ? fromHex(given.trim()) : fromBase64(given.trim());
  } catch {
    throw new KeyError("the pin is neither a SHA-256 fingerprint nor a key configuration");
  }
  if (data.length > 2 && readUint16(data, 0) === data.length - 2) data = data.slice(2);
  const config = await decodeConfig(data);
  return { fingerprint: config.fingerprint, config };
}
