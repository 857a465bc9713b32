// Kernel settings that must read a value. Only those that are wanted are ever read, and nothing is set back when it is
// wanted no more. A kernel without IPv6 has no settings of it, and needs none; what a kernel cannot do is off there. Those of
// interfaces are written before those of all: what an interface keeps when the machine forwards is said before it does.
import { ERRNO, KernelError } from '../port/error.ts'
import { isUnknown, readOrAbsent, type SysctlPort } from '../port/sysctls.ts'
import type { NamedSysctl } from './objects.ts'
import { failureOf, noInterface, type WriteFailure } from './outcome.ts'
import { KernelTable } from './table.ts'

/** `conf.calia.forwarding` is a setting of calia; `ip_forward` and `conf.all.forwarding` are of no interface. */
function interfaceOf({ path }: NamedSysctl): string | undefined {
  return path.length === 3 && path[1] !== 'all' && path[1] !== 'default' ? path[1] : undefined
}

/**
 * What the kernel does: of `rp_filter` it takes the larger one of the device's and that of all (ip-sysctl.rst). Of one that should
 * be 0 it is the device's own: writing that again and again would not change what all has.
 */
function inEffect(kernel: SysctlPort, { family, path, value: wanted }: NamedSysctl): string | undefined {
  const value = readOrAbsent(kernel, family, path)
  if (value === undefined || path.at(-1) !== 'rp_filter' || wanted === '0') return value
  const all = readOrAbsent(kernel, family, ['conf', 'all', 'rp_filter']) ?? '0'
  return Number(all) > Number(value) ? all : value
}

export function sysctlTable(kernel: SysctlPort): KernelTable<NamedSysctl> {
  const hasIpv6 = () => readOrAbsent(kernel, 'ipv6', ['conf', 'all', 'forwarding']) !== undefined
  const read = (wanted: NamedSysctl, knowsFamily: () => boolean): NamedSysctl | undefined => {
    if (wanted.family === 'ipv6' && !knowsFamily()) return wanted
    const value = inEffect(kernel, wanted)
    if (value === undefined) return wanted.value === '0' && isUnknown(kernel, wanted) ? wanted : undefined
    return { ...wanted, value }
  }
  return new KernelTable(
    {
      kind: 'sysctl',
      same: (wanted, seen) => [wanted.value, wanted.orValue].includes(seen.value),
      interfaceOf,
      // a setting is there whoever wants it, so it is written over while it is wanted and never removed
      owns: () => false,
      mayTake: () => true,
      wordsOf: ({ value }) => value,
      async list(wanted) {
        const knowsFamily = once(hasIpv6)
        return [...wanted].flatMap(([key, value]) => {
          const seen = read(value, knowsFamily)
          return seen === undefined ? [] : [[key, seen] as const]
        })
      },
      look: objects => {
        const knowsFamily = once(hasIpv6)
        return Promise.resolve(objects.map(({ key, like }) => [key, read(like, knowsFamily)] as const))
      },
      async write(writes) {
        const failures = new Map<NamedSysctl, WriteFailure | undefined>()
        const wanted = writes.filter(({ verb }) => verb !== 'delete').map(({ value }) => value)
        const [ofInterfaces, ofAll] = [true, false].map(one =>
          wanted.filter(each => (interfaceOf(each) !== undefined) === one),
        )
        for (const each of [...ofInterfaces!, ...ofAll!]) failures.set(each, writeOne(kernel, each))
        return writes.map(({ value }) => failures.get(value))
      },
    },
    { confirm: true },
  )
}

function writeOne(kernel: SysctlPort, wanted: NamedSysctl): WriteFailure | undefined {
  const { family, path, value } = wanted
  const interfaceName = interfaceOf(wanted)
  try {
    kernel.writeSysctl(family, path, value)
    return undefined
  } catch (error) {
    if (!(error instanceof KernelError)) throw error
    const gone = error.errno === ERRNO.ENOENT && interfaceName !== undefined
    return gone ? noInterface(interfaceName) : failureOf(error)
  }
}

/** `ask`, which is asked once: one look at many settings asks the same for each of them. */
function once(ask: () => boolean): () => boolean {
  let answer: boolean | undefined
  return () => {
    answer ??= ask()
    return answer
  }
}
