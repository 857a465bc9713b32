// What a kernel lacks of nftables, by how it refuses. Pure.
import { ERRNO, type KernelError } from '../port/error.ts'
import type { NftChange } from '../port/nftables.ts'

/** This kernel has no nftables, or not this family of it (socket, table). */
const LACKING: readonly number[] = [ERRNO.EPROTONOSUPPORT, ERRNO.EAFNOSUPPORT, ERRNO.EOPNOTSUPP]

/** Whether a kernel refused a table because it has no nftables, or not this family of it. */
export function isLacking({ errno }: KernelError): boolean {
  return LACKING.includes(errno)
}

/**
 * Whether a table cannot be read because the kernel has no nftables: where it has netfilter's sockets, it does not know the
 * request (EINVAL).
 */
export function lacksNftables(error: KernelError): boolean {
  return isLacking(error) || error.errno === ERRNO.EINVAL
}

/** It has no NAT: it knows neither such a chain nor what its rules do. */
export function lacksNat({ errno }: KernelError, change: NftChange | undefined): boolean {
  if (errno !== ERRNO.ENOENT || change?.verb !== 'add') return false
  const { object } = change
  if (object.kind === 'chain') return object.base?.type === 'nat'
  return object.kind === 'rule' && object.expressions.some(({ type }) => type === 'masq' || type === 'nat')
}
