// Pods of two nodes on two subnets (two-nodes.ts) talk through vxlan.calico, find their gateway, and do not notice a restart
// of felix.
import { execFile, spawn } from 'node:child_process'
import { promisify } from 'node:util'
import test from 'ava'
import { systemProgram } from '../../lib/system-program.ts'
import { isRoot, sweep, type TestNetns } from './netns.ts'
import { eventually } from './node-kernel.ts'
import { startFelix, twoNodes } from './two-nodes.ts'

const run = promisify(execFile)

if (!isRoot)
  test('pods on two nodes', t => {
    t.log('skipped: needs root')
    t.pass()
  })
else {
  sweep()
  test.serial('pods of two subnets reach each other over VXLAN, and the router sees no bare pod packet', async t => {
    await using net = await twoNodes()
    const [a] = net.nodes
    await ping(a.pod, '10.244.2.5', 3)
    const { stdout } = await run(systemProgram('ip'), [
      '-n',
      a.host.name,
      'route',
      'show',
      'proto',
      '80',
      'scope',
      'global',
      'type',
      'unicast',
    ])
    t.is(stdout.trim(), '10.244.2.0/26 via 10.244.2.1 dev vxlan.calico onlink')
    const link = await a.host.kernel.link('vxlan.calico')
    t.like(link, { mtu: 1450, up: true })
    // the router has no route to pods: nothing but the outer packets can have passed
    const routes = await net.router.kernel.routes()
    t.false(routes.some(({ dst }) => dst.startsWith('10.244.')))
  })

  test.serial('a full-size packet passes the tunnel unfragmented, a larger one is refused at the source', async t => {
    await using net = await twoNodes()
    const [a] = net.nodes
    await t.notThrowsAsync(ping(a.pod, '10.244.2.5', 1, ['-M', 'do', '-s', '1422']))
    await t.throwsAsync(ping(a.pod, '10.244.2.5', 1, ['-M', 'do', '-s', '1423']))
  })

  for (const defaultRoutes of [true, false]) {
    const where = defaultRoutes ? 'a node with a default route' : 'a node without a default route'
    test.serial(`ARP for 169.254.1.1 is answered on pod interfaces and not on the uplink: ${where}`, async t => {
      await using net = await twoNodes({ defaultRoutes })
      const [{ pod, host }] = net.nodes
      t.regex(await arping(pod, 'eth0'), /reply from 169\.254\.1\.1 \[EE:EE:EE:EE:EE:EE\]/)
      t.regex(await arping(net.router, 'lan1'), /Received 0 response/)
      await host.otherProgram.setLink('eth0', { up: false })
      await host.otherProgram.setLink('eth0', { up: true })
      await eventually('the pod gets an answer after the uplink was down', async () =>
        /reply from/.test(await arping(pod, 'eth0')),
      )
    })
  }

  test.serial('a restart of felix loses no packet', async t => {
    await using net = await twoNodes()
    const [a] = net.nodes
    const args = [
      'netns',
      'exec',
      a.pod.name,
      systemProgram('ping'),
      '-q',
      '-i',
      '0.01',
      '-c',
      '100',
      '-W',
      '20',
      '10.244.2.5',
    ]
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

  test.serial('a tunnel that was deleted by hand carries packets again', async t => {
    await using net = await twoNodes()
    const [a] = net.nodes
    await a.host.otherProgram.deleteLink('vxlan.calico')
    const tookMs = await eventually('the pod answers again', () =>
      // a lost probe must not be what is measured
      ping(a.pod, '10.244.2.5', 1, ['-W', '0.1']).then(
        () => true,
        () => false,
      ),
    )
    t.log(`${Math.round(tookMs)} ms`)
    t.pass()
  })
}

/** What `arping` prints when it asks once for 169.254.1.1; no answer is no failure. */
async function arping({ name }: TestNetns, device: string): Promise<string> {
  const args = ['netns', 'exec', name, systemProgram('arping'), '-c1', '-w1', '-I', device, '169.254.1.1']
  return run(systemProgram('ip'), args).then(
    ({ stdout }) => stdout,
    (error: { stdout?: string }) => error.stdout ?? '',
  )
}

async function ping({ name }: TestNetns, address: string, count: number, more: string[] = []): Promise<void> {
  await run(systemProgram('ip'), [
    'netns',
    'exec',
    name,
    systemProgram('ping'),
    '-q',
    '-i',
    '0.05',
    '-c',
    `${count}`,
    '-W',
    '1',
    ...more,
    address,
  ])
}
