// Errors as the CNI specification has them (SPEC 1.1.0, "Error"): a code, a message, and details that name the remedy.

/** One row per code: 1-99 belong to the specification, 8 to its reference library, 100 and up are our own. */
export const CNI_CODE = {
  /** The configuration's cniVersion is not one of ours. */
  version: 1,
  /** A field of the configuration is not supported or has a wrong type; the message names key and value. */
  field: 2,
  /** The container is unknown: the runtime need not call DEL. */
  unknownContainer: 3,
  /** A CNI_ variable is missing or invalid. */
  environment: 4,
  /** Reading or writing failed, the journal included. */
  io: 5,
  /** Standard input is not the JSON that was expected. */
  decode: 6,
  /** The network configuration is invalid. */
  config: 7,
  /** The network namespace is missing, or is the host's own. */
  netns: 8,
  /** A temporary state: try again later. */
  tryLater: 11,
  /** STATUS: ADD cannot be served. */
  notReady: 50,
  /** STATUS: ADD cannot be served, and containers that run may have limited connectivity. */
  limited: 51,
  /** No address for the container. */
  noAddress: 100,
  /** The kernel refused an operation; the message has its words. */
  kernel: 101,
  /** CHECK: what ADD created is not there any more. */
  broken: 102,
  /** A bug in Margay. */
  internal: 999,
} as const

/** The remedy where no network namespace may be entered (EPERM of setns(2)). */
export const GIVE_SYS_ADMIN = 'run margay-node as root, or give it CAP_SYS_ADMIN, which setns(2) asks for'

/** What the runtime is told on standard output, with exit code 1. */
export class CniError extends Error {
  override readonly name = 'CniError'
  readonly code: number
  /** What a person can do about it. */
  readonly details: string
  constructor(code: number, message: string, details: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
    this.details = details
  }
}

/** The error object of the specification, as one line of JSON. */
export function emitError(error: CniError, cniVersion: string): string {
  return JSON.stringify({ cniVersion, code: error.code, msg: error.message, details: error.details })
}
