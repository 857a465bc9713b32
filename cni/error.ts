// Errors as the CNI specification has them (SPEC 1.1.0, "Error"): a code, a message, and details that name the remedy.

/**
 * One row per code: 1-99 belong to the specification, 8 to its reference library, 100 and up are our own. `remedy` is the usual
 * one; each error has its own in `details`. Code 3 (the container is unknown, and needs no DEL) is never given: DEL succeeds then.
 */
export const CNI_ERRORS = {
  version: {
    code: 1,
    when: 'the configuration’s cniVersion is not one of ours, or the verb came with a later one',
    remedy: 'write one from 0.1.0 to 1.1.0 that every plugin of the chain speaks, as `margay-node install` does',
  },
  field: {
    code: 2,
    when: 'a key or an annotation has a wrong type or value, or asks for what is not done here; the message names it with its value',
    remedy: 'give it what `details` says, or take it away',
  },
  environment: {
    code: 4,
    when: 'a CNI_ variable is missing or malformed, or CNI_IFNAME is already there in the namespace',
    remedy: 'look at what the runtime was told; remove the other interface, or take another name',
  },
  io: {
    code: 5,
    when: 'standard input, or the journal in the data directory, cannot be read or written; GC could not delete everything',
    remedy: 'see that the disk of `/var/lib/margay` has space and can be written; GC may be called again',
  },
  decode: {
    code: 6,
    when: 'standard input is no JSON object, or is larger than 4 MiB; a prevResult is not in the format of its version',
    remedy:
      'standard input must be the configuration of one plugin, as runtimes make it of a list, with the result of the last ADD',
  },
  config: {
    code: 7,
    when: 'the network has no valid name, CHECK no prevResult, or GC no list',
    remedy: 'name the network; the others are the runtime’s to give',
  },
  netns: {
    code: 8,
    when: 'the namespace is not there, cannot be entered or mounted, or is the host’s own',
    remedy:
      'the agent needs CAP_SYS_ADMIN and the host’s `/run/netns`; a runtime must give each container a namespace (`CNI_NETNS_OVERRIDE=1` lets it be the host’s)',
  },
  tryLater: {
    code: 11,
    when: 'the agent does not answer or is not ready, it has not heard of the Pod yet, a block of addresses needs an API server that is away, or too many requests wait',
    remedy:
      'the runtime tries again by itself; where it lasts, `margayctl node status` and the log of margay-node say why',
  },
  notReady: {
    code: 50,
    when: 'STATUS: this node can serve no pods',
    remedy: '`margayctl node status` names the condition, with its remedy ([conditions.md](conditions.md))',
  },
  limited: {
    code: 51,
    when: 'STATUS: it can serve none, and pods that run may have lost their network too',
    remedy: 'as for 50, at once',
  },
  noAddress: {
    code: 100,
    when: 'no pool serves the pod, all its pools are full, or an address that was asked for is taken or outside of them',
    remedy:
      '`margayctl ipam show` says what is left: make or enable an IPPool that chooses the node, or ask for another address',
  },
  kernel: {
    code: 101,
    when: 'the kernel refused an operation, in its words, or did not take the pod’s policies',
    remedy: 'nothing was left behind; the log of margay-node, its conditions and dmesg have more',
  },
  broken: {
    code: 102,
    when: 'CHECK: something is not as ADD made it; every difference is named, the first one first',
    remedy: 'restart the pod; the log of margay-node may say what changed it',
  },
  internal: {
    code: 999,
    when: 'a bug in Margay',
    remedy: 'please report it with the log of margay-node',
  },
} as const satisfies Readonly<Record<string, { code: number; when: string; remedy: string }>>

type Codes = { readonly [K in keyof typeof CNI_ERRORS]: (typeof CNI_ERRORS)[K]['code'] }

export const CNI_CODE = Object.fromEntries(
  Object.entries(CNI_ERRORS).map(([name, { code }]) => [name, code]),
) as Record<string, number> as Codes

const OWN_CODES: ReadonlySet<number> = new Set(Object.values(CNI_CODE))

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

/** The error object of the specification, as one line of JSON; its details name the page that explains the code. */
export function emitError(error: CniError, cniVersion: string): string {
  const { code, message, details } = error
  // what another plugin of the node said is explained by its own documentation
  const see = OWN_CODES.has(code) ? `; see docs/cni.md#code-${code}` : ''
  return JSON.stringify({ cniVersion, code, msg: message, details: details + see })
}
