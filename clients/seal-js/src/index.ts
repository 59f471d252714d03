// Sealed requests to an Antiphon gateway, or any that speaks chunked Oblivious HTTP.

export { BinaryHttpError, KeyError, OpenError, OuterError, PinError, SealError, TruncatedError } from "./errors.js";
export { type SealOptions, createSealedFetch, fetchKeys, sealedFetch } from "./fetch.js";
export { type KeyConfig, type Pin, decodeKeys, parsePin } from "./keys.js";
