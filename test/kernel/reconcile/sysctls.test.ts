// Settings that must read a value, on kernels that do not have all of them.
import test from 'ava'
import { ERRNO, KernelError } from '../../../kernel/port/error.ts'
import type { SysctlPort } from '../../../kernel/port/sysctls.ts'
import { type NamedSysctl, sysctlKey } from '../../../kernel/reconcile/objects.ts'
import { sysctlTable } from '../../../kernel/reconcile/sysctls.ts'

/** A kernel with these settings, such as `ipv6 conf/all/forwarding`, all of value 1. */
function aKernel(names: readonly string[]): SysctlPort & { values: Map<string, string> } {
  const values = new Map(names.map(name => [name, '1']))
  const keyOf = (family: string, path: readonly string[]) => `${family} ${path.join('/')}`
  const check = (key: string) => {
    if (!values.has(key)) throw new KernelError(ERRNO.ENOENT, 'read sysctl', key)
    return key
  }
  return {
    values,
    readSysctl: (family, path) => values.get(check(keyOf(family, path)))!,
    writeSysctl: (family, path, value) => void values.set(check(keyOf(family, path)), value),
  }
}

const setting = (name: string, value: string): NamedSysctl => ({ family: 'ipv6', path: ['conf', 'cali1', name], value })

async function refused(kernel: SysctlPort, ...wanted: NamedSysctl[]): Promise<string[]> {
  const table = sysctlTable(kernel)
  for (const each of wanted) table.want(sysctlKey(each), each)
  return (await table.apply(() => true)).refused.map(({ key, reason }) => `${key}: ${reason}`)
}

const IPV6 = ['ipv6 conf/all/forwarding', 'ipv6 conf/cali1/forwarding']

test('what a kernel is too old for is off there; what must be on, and what the interface lacks alone, is refused', async t => {
  const kernel = aKernel([...IPV6, 'ipv6 conf/all/seg6_enabled', 'ipv6 conf/cali1/seg6_enabled', 'ipv6 conf/all/gone'])
  t.deepEqual(await refused(kernel, setting('seg6_enabled', '0'), setting('rpl_seg_enabled', '0')), [])
  t.is(kernel.values.get('ipv6 conf/cali1/seg6_enabled'), '0')
  t.deepEqual(await refused(kernel, setting('proxy_ndp', '1')), ['net.ipv6 conf/cali1/proxy_ndp: NoInterface'])
  t.deepEqual(await refused(kernel, setting('gone', '0')), ['net.ipv6 conf/cali1/gone: NoInterface'])
})

test('settings of interfaces are written before those of all, whichever was wanted first', async t => {
  const kernel = aKernel(IPV6)
  const written: string[] = []
  const table = sysctlTable({
    ...kernel,
    writeSysctl: (_, path, value) => void written.push(`${path.join('/')}=${value}`),
  })
  for (const name of ['all', 'cali1']) {
    const wanted: NamedSysctl = { family: 'ipv6', path: ['conf', name, 'forwarding'], value: '0' }
    table.want(sysctlKey(wanted), wanted)
  }
  await table.apply(() => true)
  t.deepEqual(written, ['conf/cali1/forwarding=0', 'conf/all/forwarding=0'])
})

test('a kernel without IPv6 needs no settings of it', async t => {
  t.deepEqual(await refused(aKernel([]), setting('forwarding', '1'), setting('accept_ra', '0')), [])
})

test('a strict filter of the reverse path becomes loose, also where it is that of all devices; one that is off stays off', async t => {
  const filter = (device: string): NamedSysctl => {
    return { family: 'ipv4', path: ['conf', device, 'rp_filter'], value: '2', orValue: '0' }
  }
  for (const [all, device, after] of [
    ['0', '0', '0'],
    ['0', '1', '2'],
    ['1', '0', '2'],
    ['1', '1', '2'],
    ['2', '0', '0'],
    ['2', '1', '1'],
  ] as const) {
    const kernel = aKernel([])
    kernel.values.set('ipv4 conf/all/rp_filter', all)
    kernel.values.set('ipv4 conf/eth0/rp_filter', device)
    t.deepEqual(await refused(kernel, filter('eth0')), [])
    t.is(kernel.values.get('ipv4 conf/eth0/rp_filter'), after, `all ${all}, device ${device}`)
  }
})

test('a filter of the reverse path that should be off is off on the device, whatever all devices have, and nothing is refused', async t => {
  for (const all of ['0', '1', '2'])
    for (const device of ['0', '1', '2']) {
      const kernel = aKernel([])
      kernel.values.set('ipv4 conf/all/rp_filter', all)
      kernel.values.set('ipv4 conf/cali1/rp_filter', device)
      const filter: NamedSysctl = { family: 'ipv4', path: ['conf', 'cali1', 'rp_filter'], value: '0' }
      t.deepEqual(await refused(kernel, filter), [])
      t.deepEqual([...kernel.values.values()], [all, '0'])
    }
})
