// What can go wrong, and on which layer.

/** Base of all errors of this module. */
export class SealError extends Error {
  override name = "SealError";
}

/** A key configuration or a pin that cannot be used. */
export class KeyError extends SealError {
  override name = "KeyError";
}

/** The gateway's key is not the pinned one: someone may be in between, or it was rotated. */
export class PinError extends KeyError {
  override name = "PinError";
}

/** What was sealed does not open: altered, reordered, or the answer to another request. */
export class OpenError extends SealError {
  override name = "OpenError";
}

/** A sealed answer that ends before its final chunk. What came before it is authentic. */
export class TruncatedError extends OpenError {
  override name = "TruncatedError";
}

/** The message inside the seal is not valid HTTP. */
export class BinaryHttpError extends SealError {
  override name = "BinaryHttpError";
}

/** An answer in the clear. Anyone on the way can have given it: the request did not get through. */
export class OuterError extends SealError {
  override name = "OuterError";
  constructor(
    message: string,
    readonly status: number,
    /** The type of its problem document (RFC 9457). */
    readonly problem?: string,
  ) {
    super(message);
  }
}
