// Which interfaces are held to take router advertisements, by what their settings are when they are first seen.
import test from 'ava'
import { RouterAdvertisements } from '../../felix/router-advertisements.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import { calculated, FULL, TWO_UPLINKS, type World } from './worlds.ts'

/** `accept_ra` and `forwarding` by interface; those that are there have links. */
type Machine = Record<string, [accepts: string, forwards: string]>

async function seen(machine: Machine) {
  const kernel = {
    links: async () =>
      Object.keys(machine)
        .filter(name => name !== 'default')
        .map((name, index) => ({ index, name, mtu: 1500, up: true, running: true })),
    readSysctl: (_family: string, [, name, key]: readonly string[]) => {
      const settings = machine[name!]
      if (settings === undefined) throw new KernelError(ERRNO.ENOENT, 'read', name!)
      return `${settings[key === 'accept_ra' ? 0 : 1]}\n`
    },
  }
  return await RouterAdvertisements.now(kernel)
}

test('those take them that did before this machine forwarded, or are to while it does', async t => {
  const machine: Machine = {
    default: ['1', '0'],
    ...{ took: ['1', '0'], forwarded: ['1', '1'], alsoForwarding: ['2', '1'], manager: ['0', '0'] },
  }
  const advertisements = await seen(machine)
  for (const settings of Object.values(machine)) settings[1] = '1'
  t.deepEqual(advertisements.takenBy(Object.keys(machine).slice(1)), ['alsoForwarding', 'took'])
})

test('one that appears later forwards from its beginning, and takes them where the machine did by default', async t => {
  for (const [before, taken] of [
    [['1', '0'], ['later']],
    [['1', '1'], []],
    [['0', '0'], []],
  ] as const) {
    const machine: Machine = { default: [...before] }
    const advertisements = await seen(machine)
    t.deepEqual(advertisements.takenBy(['later']), [], 'it is not there')
    machine.later = ['1', '1']
    t.deepEqual(advertisements.takenBy(['later']), taken)
  }
})

test('one that is gone and comes again under its name is as it was, and another list is another array', async t => {
  const machine: Machine = { default: ['0', '0'], eth0: ['1', '0'] }
  const advertisements = await seen(machine)
  const before = advertisements.takenBy(['eth0'])
  machine.eth0 = ['1', '1']
  t.is(advertisements.takenBy(['eth0']), before)
  machine.eth1 = ['1', '0']
  t.deepEqual(advertisements.takenBy(['eth1']), ['eth0', 'eth1'])
})

test('they are wanted of all uplinks and of no other interface, where nobody switched them off since, and only while this node forwards IPv6', t => {
  const heeded = (world: World) =>
    [
      ...calculated({ ...world, heedsRouters: ['docker0', 'eth0', 'eth1'] })
        .wanted()
        .sysctl.values(),
    ].flatMap(({ path: [, device, name], value, orValue }) =>
      name === 'accept_ra' && !device!.startsWith('cali') ? [`${device} ${value} or ${orValue}`] : [],
    )
  t.deepEqual(heeded(TWO_UPLINKS), ['eth0 2 or 0', 'eth1 2 or 0'])
  t.deepEqual(heeded(FULL), ['eth0 2 or 0'])
  t.deepEqual(heeded({ ...TWO_UPLINKS, endpoints: [] }), [], 'nothing of IPv6 is here')
})
