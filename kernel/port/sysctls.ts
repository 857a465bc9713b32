// Kernel settings of one network namespace. Part of the kernel port.
import { KernelError } from './error.ts'

export type SysctlFamily = 'ipv4' | 'ipv6'

/** Another process wrote to a setting, whether that changed it or not. `by`: that process, where it is one of this process namespace. */
export type SettingNews = { family: SysctlFamily; path: readonly string[]; by?: { pid: number; name: string } }

/** `renew`: see `watchSettings`. `drain` tells what waits before it returns. */
export type SettingWatch = { renew(): void; drain(): void; close(): void }

export type SysctlPort = {
  /** `net.<family>.<path>`: `conf.eth0.forwarding` is written as ['conf', 'eth0', 'forwarding'] (names hold dots). */
  readSysctl(family: SysctlFamily | 'netfilter', path: readonly string[]): string
  writeSysctl(family: SysctlFamily, path: readonly string[], value: string): void
}

export type SettingWatchPort = {
  /**
   * Calls `listen` from now on for each write of other processes to a setting, as far as the kernel tells: not through a mount of /proc
   * of their own. With undefined where some are not told: after so many writes to files of /proc that they would cost more than a
   * hundredth of a processor, none is until `renew`, which is to be called every ten seconds. Throws `KernelError`, as `renew`.
   */
  watchSettings(listen: (news: SettingNews | undefined) => void): SettingWatch
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
