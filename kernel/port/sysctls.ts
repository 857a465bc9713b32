// Kernel settings of one network namespace. Part of the kernel port.

export type SysctlFamily = 'ipv4' | 'ipv6'

export type SysctlPort = {
  /** `net.<family>.<path>`: `conf.eth0.forwarding` is written as ['conf', 'eth0', 'forwarding'] (names hold dots). */
  readSysctl(family: SysctlFamily | 'netfilter', path: readonly string[]): string
  writeSysctl(family: SysctlFamily, path: readonly string[], value: string): void
}
