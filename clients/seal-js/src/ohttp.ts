// Chunked Oblivious HTTP (draft-ietf-ohai-chunked-ohttp-08), the client's side.

import {
  AEAD_AES_128_GCM,
  AEAD_ChaCha20Poly1305,
  CipherSuite,
  KDF_HKDF_SHA256,
  KEM_DHKEM_P256_HKDF_SHA256,
  KEM_DHKEM_X25519_HKDF_SHA256,
  KEM_MLKEM768_X25519,
  NotSupportedError,
} from "hpke";

import { type Bytes, join, readVarint, uint16, utf8, varint } from "./bytes.js";
import { KeyError, OpenError, SealError, TruncatedError } from "./errors.js";
import type { KeyConfig } from "./keys.js";

const CHUNK = 16 * 1024;
const MAX_CHUNK = 64 * 1024;
const MAX_FINAL = 1024 * 1024;
const TAG = 16;
const NONCE = 12;
const FINAL = utf8("final");
const NOTHING = new Uint8Array();

const KEMS = {
  0x0010: KEM_DHKEM_P256_HKDF_SHA256,
  0x0020: KEM_DHKEM_X25519_HKDF_SHA256,
  0x647a: KEM_MLKEM768_X25519,
} as const;
const KDFS = { 0x0001: KDF_HKDF_SHA256 } as const;
const AEADS = {
  0x0001: { factory: AEAD_AES_128_GCM, key: 16 },
  0x0003: { factory: AEAD_ChaCha20Poly1305, key: 32 },
} as const;

/** What opens the answer to one request. */
interface Secret {
  readonly aead: (typeof AEADS)[keyof typeof AEADS];
  readonly enc: Uint8Array;
  readonly secret: Uint8Array;
}

/** Seal a whole message, chunk by chunk, with the first of the key's ciphers that this platform has.
 * Throws KeyError if it has none. */
export async function sealRequest(config: KeyConfig, message: Uint8Array): Promise<{ body: Bytes; answer: ChunkReader }> {
  for (const { kdf, aead } of config.ciphers) {
    if (!(config.kem in KEMS && kdf in KDFS && aead in AEADS)) continue;
    try {
      return await seal(config, kdf as keyof typeof KDFS, aead as keyof typeof AEADS, message);
    } catch (error) {
      if (!(error instanceof NotSupportedError)) throw error;
    }
  }
  throw new KeyError("this platform has none of the algorithms of the gateway's key");
}

async function seal(
  config: KeyConfig,
  kdf: keyof typeof KDFS,
  aead: keyof typeof AEADS,
  message: Uint8Array,
): Promise<{ body: Bytes; answer: ChunkReader }> {
  const suite = new CipherSuite(KEMS[config.kem as keyof typeof KEMS], KDFS[kdf], AEADS[aead].factory);
  const header = join(Uint8Array.of(config.id), uint16(config.kem), uint16(kdf), uint16(aead));
  const info = join(utf8("message/bhttp chunked request\0"), header);
  const key = await suite.DeserializePublicKey(config.publicKey);
  const { encapsulatedSecret: enc, ctx } = await suite.SetupSender(key, { info });
  const parts: Uint8Array[] = [header, enc];
  let at = 0;
  for (; message.length - at > CHUNK; at += CHUNK) {
    const sealed = await ctx.Seal(message.subarray(at, at + CHUNK), NOTHING);
    parts.push(varint(sealed.length), sealed);
  }
  parts.push(varint(0), await ctx.Seal(message.subarray(at), FINAL));
  const secret = await ctx.Export(utf8("message/bhttp chunked response"), AEADS[aead].key);
  return { body: join(...parts), answer: new ChunkReader({ aead: AEADS[aead], enc, secret }) };
}

/** Opens the answer: chunks in, plain bytes out. Throws OpenError. */
export class ChunkReader {
  #buffer: Bytes = new Uint8Array();
  #final = false;
  #failed: SealError | undefined;
  #open: ((sealed: Uint8Array, associated: Uint8Array) => Promise<Uint8Array>) | undefined;

  constructor(private readonly secret: Secret) {}

  /** The plain chunks that these bytes complete; the final one comes from `end`. */
  async feed(data: Uint8Array): Promise<Uint8Array[]> {
    return this.#guarded(async () => {
      this.#buffer = join(this.#buffer, data);
      const chunks: Uint8Array[] = [];
      if (this.#open === undefined && !(await this.#begin())) return chunks;
      while (!this.#final) {
        const size = readVarint(this.#buffer, 0);
        if (size === undefined) break;
        if (size.value === 0) {
          this.#final = true;
          this.#buffer = this.#buffer.slice(size.end);
        } else {
          if (size.value <= TAG || size.value > MAX_CHUNK + TAG) throw cannotOpen();
          const end = size.end + size.value;
          if (this.#buffer.length < end) break;
          chunks.push(await this.#unseal(this.#buffer.slice(size.end, end), NOTHING));
          this.#buffer = this.#buffer.slice(end);
        }
      }
      if (this.#final && this.#buffer.length > MAX_FINAL + TAG) throw cannotOpen();
      return chunks;
    });
  }

  /** The plain final chunk: only now is the answer whole. Throws TruncatedError if there is none. */
  async end(): Promise<Uint8Array> {
    return this.#guarded(async () => {
      if (!this.#final || this.#buffer.length < TAG) {
        throw new TruncatedError("the sealed answer ends before its final chunk");
      }
      return this.#unseal(this.#buffer, FINAL);
    });
  }

  async #begin(): Promise<boolean> {
    const { aead, enc, secret } = this.secret;
    if (this.#buffer.length < aead.key) return false;
    const salt = join(enc, this.#buffer.subarray(0, aead.key));
    this.#buffer = this.#buffer.slice(aead.key);
    const material = await crypto.subtle.importKey("raw", secret as Bytes, "HKDF", false, ["deriveBits"]);
    const derive = async (label: string, size: number): Promise<Bytes> => {
      const how = { name: "HKDF", hash: "SHA-256", salt, info: utf8(label) };
      return new Uint8Array(await crypto.subtle.deriveBits(how, material, size * 8));
    };
    const key = await derive("key", aead.key);
    const base = await derive("nonce", NONCE);
    const cipher = aead.factory();
    let count = 0;
    this.#open = (sealed, associated) => {
      const nonce = base.slice();
      for (let i = 0, n = count++; n > 0; i++, n = Math.floor(n / 256)) {
        nonce[NONCE - 1 - i] = (nonce[NONCE - 1 - i] as number) ^ (n & 0xff);
      }
      return cipher.Open(key, nonce, associated, sealed);
    };
    return true;
  }

  async #unseal(sealed: Uint8Array, associated: Uint8Array): Promise<Uint8Array> {
    if (this.#open === undefined) throw new TruncatedError("the sealed answer ends before its first chunk");
    try {
      return await this.#open(sealed, associated);
    } catch {
      throw cannotOpen();
    }
  }

  /** After the first failure nothing opens any more. */
  async #guarded<T>(work: () => Promise<T>): Promise<T> {
    if (this.#failed !== undefined) throw this.#failed;
    try {
      return await work();
    } catch (error) {
      this.#failed = error instanceof SealError ? error : cannotOpen();
      throw this.#failed;
    }
  }
}

function cannotOpen(): OpenError {
  return new OpenError("the sealed answer cannot be opened");
}
