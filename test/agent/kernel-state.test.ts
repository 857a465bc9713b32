import test from 'ava'
import { kernelState } from '../../agent/kernel-state.ts'
import { nodeMarks } from '../../felix/marks.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import { ROUTE_TABLE } from '../../kernel/port/routes.ts'

const MARKS = nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' })

test('what a kernel has is told an object at a time: of everybody, but of nftables our own tables alone, with rules in the words of nft', async t => {
  const kernel = new FakeWorld().kernel()
  const { index } = await kernel.createLink({ kind: 'dummy', name: 'eth0' })
  await kernel.setLink('eth0', { up: true })
  await kernel.addAddress({ ifindex: index, address: '192.0.2.11', length: 24, scope: 0 })
  const route = { dst: '10.9.0.0/16', table: ROUTE_TABLE.main, type: 'blackhole', protocol: 4, scope: 0 } as const
  await kernel.changeRoutes([{ verb: 'add', route }])
  for (const name of ['margay', 'theirs']) {
    const of = { family: 'inet', table: name } as const
    const refused = await kernel.changeNftables([
      { verb: 'add', object: { kind: 'table', family: 'inet', name } },
      { verb: 'add', object: { kind: 'chain', ...of, name: 'filter' } },
      { verb: 'add', object: { kind: 'rule', ...of, chain: 'filter', expressions: [] } },
    ])
    t.deepEqual(refused, [])
  }
  const lines = await Array.fromAsync(kernelState(kernel, MARKS))
  const of = (part: string) => lines.flatMap(line => (line.of === part && 'is' in line ? [line.is] : []))
  t.true((of('links') as { name: string }[]).some(({ name }) => name === 'eth0'))
  t.true((of('addresses') as { address: string }[]).some(({ address }) => address === '192.0.2.11'))
  t.true((of('routes') as { dst: string }[]).some(({ dst }) => dst === '10.9.0.0/16'))
  const tables = of('nftables') as { table: string; chain?: string; rules?: object[] }[]
  t.deepEqual([...new Set(tables.map(({ table }) => table))], ['inet margay'])
  t.is(tables.find(({ chain }) => chain === 'filter')?.rules?.length, 1)
})

test('of each kind 20,000 are told and the others counted, and what the kernel refuses is named and stops nothing', async t => {
  const real = new FakeWorld().kernel()
  const kernel = new Proxy(real, {
    get(target, name: keyof typeof real) {
      if (name === 'neighbours')
        return async () => Array.from({ length: 20_007 }, (_, ifindex) => ({ ifindex, address: '192.0.2.1' }))
      if (name === 'rules')
        return async () => {
          throw new KernelError(ERRNO.EPERM, 'list', 'rules')
        }
      const method = target[name]
      return typeof method === 'function' ? method.bind(target) : method
    },
  })
  const lines = await Array.fromAsync(kernelState(kernel, MARKS))
  t.is(lines.filter(({ of }) => of === 'neighbours').length, 20_001)
  t.true(lines.some(line => line.of === 'neighbours' && 'left' in line && line.left === 7))
  t.true(lines.some(line => line.of === 'rules' && 'fault' in line && /EPERM/.test(line.fault)))
  t.true(lines.some(({ of }) => of === 'links'))
})
