// Pods that have IPv6 alone, on two nodes on two subnets that have IPv4 alone (two-nodes.ts), talk through vxlan.calico. IPv6 is off
// on both hosts, as administrators leave it where they have none.
import { execFile, spawn } from 'node:child_process'
import { promisify } from 'node:util'
import test from 'ava'
import { systemProgram } from '../../lib/system-program.ts'
import { isRoot, sweep, type TestNetns } from './netns.ts'
import { eventually } from './node-kernel.ts'
import { type Net, startFelix, twoNodes } from './two-nodes.ts'

const run = promisify(execFile)
/** Of the pod of the second node. */
const FAR = 'fd00:10:2::5'

if (!isRoot)
  test('IPv6 pods on two nodes', t => {
    t.log('skipped: needs root')
    t.pass()
  })
else {
  sweep()
  let net: Net
  test.before(async () => {
    net = await twoNodes({ ipv6: true })
  })
  test.after.always(() => net?.[Symbol.asyncDispose]())

  test.serial('IPv6 pods of two subnets reach each other where no host and no router has an IPv6 address', async t => {
    const [a, b] = net.nodes
    await ping(a.pod, FAR, 3)
    await ping(b.pod, 'fd00:10:1::5', 3)
    const { stdout } = await ip(a.host, '-6', 'route', 'show', 'proto', '80', 'type', 'unicast')
    t.regex(stdout, /^fd00:10:2::\/122 via fe80::\S+ dev vxlan\.calico metric 1024/)
    // the router has no IPv6 route to pods: nothing but the outer packets can have passed
    const routes = await net.router.kernel.routes({ family: 'ipv6' })
    t.false(routes.some(({ dst }) => dst.startsWith('fd00')))
    t.is(a.host.kernel.readSysctl('ipv6', ['conf', 'eth0', 'disable_ipv6']), '1')
  })

  test.serial('an IPv6 packet of 1,450 octets passes the tunnel, a larger one is refused at the source', async t => {
    const [a, b] = net.nodes
    for (const { pod, host } of [a, b]) {
      t.like(await host.kernel.link('vxlan.calico'), { mtu: 1450, up: true })
      await pod.kernel.setLink('eth0', { mtu: 1450 })
    }
    await t.notThrowsAsync(ping(a.pod, FAR, 1, ['-M', 'do', '-s', '1402']))
    await t.throwsAsync(ping(a.pod, FAR, 1, ['-M', 'do', '-W', '1', '-s', '1403']))
  })

  test.serial('a megabyte of TCP passes the tunnel whole', async t => {
    const [a, b] = net.nodes
    const server = spawnNode(
      b.pod,
      `require('net').createServer(c=>{let n=0;c.on('data',d=>n+=d.length);c.on('end',()=>c.end(String(n)))}).listen(7000,'::',()=>console.log('listening'))`,
    )
    await new Promise(resolve => server.stdout.once('data', resolve))
    const client = spawnNode(
      a.pod,
      `const c=require('net').connect(7000,'${FAR}');c.end(Buffer.alloc(1<<20));c.pipe(process.stdout)`,
    )
    let said = ''
    client.stdout.on('data', chunk => (said += chunk))
    await new Promise(resolve => client.once('exit', resolve))
    server.kill('SIGKILL')
    t.is(said, `${1 << 20}`)
  })

  test.serial('a restart of felix loses no IPv6 packet', async t => {
    const [a] = net.nodes
    const args = ['netns', 'exec', a.pod.name, systemProgram('ping'), '-q', '-i', '0.01', '-c', '100', '-W', '10', FAR]
    const pings = spawn(systemProgram('ip'), args, { stdio: ['ignore', 'pipe', 'ignore'] })
    let said = ''
    pings.stdout.on('data', chunk => (said += chunk))
    const ended = new Promise(resolve => pings.once('exit', resolve))
    for (let i = 0; i < 3; i++) {
      await a.felix.close()
      a.felix = startFelix(a)
      await a.felix.inSync()
    }
    await ended
    t.regex(said, / 0% packet loss/)
  })

  for (const [what, break_] of [
    ['the tunnel is deleted', (host: TestNetns) => host.otherProgram.deleteLink('vxlan.calico')],
    ['the tunnel goes down', (host: TestNetns) => host.otherProgram.setLink('vxlan.calico', { up: false })],
    [
      'IPv6 is switched off on the tunnel',
      async ({ otherProgram }: TestNetns) =>
        otherProgram.writeSysctl('ipv6', ['conf', 'vxlan.calico', 'disable_ipv6'], '1'),
    ],
  ] as const)
    test.serial(`IPv6 pods reach each other again after ${what} by hand`, async t => {
      const [{ host, pod }] = net.nodes
      await break_(host)
      await eventually('the pod answers again', () =>
        ping(pod, FAR, 1, ['-W', '0.2']).then(
          () => true,
          () => false,
        ),
      )
      t.pass()
    })

  test.serial('with the far node go the route, the neighbour and the forwarding entry of its IPv6 pods', async t => {
    const [{ felix, host }] = net.nodes
    const left = async () => {
      const neighbours = await ip(host, '-6', 'neigh', 'show', 'dev', 'vxlan.calico', 'nud', 'permanent')
      const routes = await ip(host, '-6', 'route', 'show', 'proto', '80', 'type', 'unicast')
      const { index } = (await host.kernel.link('vxlan.calico'))!
      return { neighbours: neighbours.stdout, routes: routes.stdout, fdb: (await host.kernel.fdb(index)).length }
    }
    const before = await left()
    t.regex(before.neighbours, /^fe80::\S+ lladdr 66:/)
    t.is(before.fdb, 1)
    felix.set('remote', 'n2', undefined)
    felix.set('learned', 'fd00:10:2::/122', undefined)
    await eventually('nothing is left', async () => {
      const { neighbours, routes, fdb } = await left()
      return neighbours === '' && routes === '' && fdb === 0
    })
    t.pass()
  })
}

function ip({ name }: TestNetns, ...args: string[]): Promise<{ stdout: string }> {
  return run(systemProgram('ip'), ['-n', name, ...args])
}

function spawnNode({ name }: TestNetns, program: string) {
  const args = ['netns', 'exec', name, process.execPath, '-e', program]
  return spawn(systemProgram('ip'), args, { stdio: ['ignore', 'pipe', 'inherit'] })
}

async function ping({ name }: TestNetns, address: string, count: number, more: string[] = []): Promise<void> {
  const args = ['-6', '-q', '-i', '0.05', '-c', `${count}`, '-W', '10', ...more, address]
  await run(systemProgram('ip'), ['netns', 'exec', name, systemProgram('ping'), ...args])
}
