// Kernel settings of one network namespace. Part of the kernel port.
import { KernelError } from './error.ts'

export type SysctlFamily = 'ipv4' | 'ipv6'

export type SysctlPort = {
  /** `net.<family>.<path>`: `conf.eth0.forwarding` is written as ['conf', 'eth0', 'forwarding'] (names hold dots). */
  readSysctl(family: SysctlFamily | 'netfilter', path: readonly string[]): string
  writeSysctl(family: SysctlFamily, path: readonly string[], value: string): void
}

/** The value without white space around it; undefined when the kernel has no such setting, or does not show it. */
export function readOrAbsent(
  kernel: Pick<SysctlPort, 'readSysctl'>,
  family: SysctlFamily | 'netfilter',
  path: readonly string[],
): string | undefined {
  try {
    return kernel.readSysctl(family, path).trim()
  } catch (error) {
    if (error instanceof KernelError) return undefined
    throw error
  }
}

/** Whether this kernel has such a setting for no interface at all, as those older than it. */
export function isUnknown(
  kernel: Pick<SysctlPort, 'readSysctl'>,
  { family, path }: { family: SysctlFamily; path: readonly string[] },
): boolean {
  const [group, , name] = path
  return group === 'conf' && name !== undefined && readOrAbsent(kernel, family, [group, 'all', name]) === undefined
}
