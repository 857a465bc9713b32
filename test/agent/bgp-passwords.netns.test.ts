// An agent whose BGPPeer names a Secret, beside BIRD and FRR with the same password: one node of programs, and the routers in a
// namespace at the other end of its uplink.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { AgentStatus } from '../../api/answers.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { bird, frr } from '../bgp/daemons.ts'
import { Program, runnable } from '../bgp/interop.ts'
import { aResource } from '../datastore/objects.ts'
import { isRoot, type ScratchNetns, scratchNetns } from '../kernel/scratch-netns.ts'
import { ask, aWholeNode, cniCall, type RunningAgent, until, type WholeNode } from './whole-node.ts'

const asRoot = isRoot ? test.serial : test.serial.skip
const NODE = '192.0.2.11'
const ROUTER = '192.0.2.1'
let node: WholeNode
let router: ScratchNetns
let folder: string

/** Writes the password of the BGPPeer into its Secret. */
async function secretIs(rack: string): Promise<void> {
  const metadata = { namespace: 'kube-system', name: 'bgp' }
  await node.writer.put([{ kind: 'Secret', object: aResource('Secret', { metadata }) }])
  node.ctl('patch', 'secret', 'bgp', '-n', 'kube-system', '-p', JSON.stringify({ stringData: { rack } }))
}

const aPeer = aResource('BGPPeer', {
  metadata: { name: 'rack' },
  spec: { peerIP: ROUTER, asNumber: 65002, password: { secretKeyRef: { name: 'bgp', key: 'rack' } } },
})

test.before(async () => {
  if (!isRoot) return
  node = await aWholeNode(1, [
    { kind: 'Namespace', object: aResource('Namespace', { metadata: { name: 'kube-system' } }) },
    { kind: 'BGPPeer', object: aPeer },
  ])
  router = scratchNetns()
  folder = mkdtempSync(join(tmpdir(), 'margay-passwords-'))
  node.run('ip', 'link', 'set', 'lan0', 'netns', router.name)
  for (const command of ['link set lo up', 'link set lan0 up', `addr add ${ROUTER}/24 dev lan0`])
    execFileSync(systemProgram('ip'), ['-n', router.name, ...command.split(' ')])
})
test.afterEach.always(() => node?.reset())
test.after.always(async () => {
  await node?.close()
  router?.[Symbol.dispose]()
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true })
})

/** Runs at the router until the end of the test. */
function atRouter(t: ExecutionContext, name: string, command: string, args: readonly string[]): Program {
  const program = new Program(router, folder, { name, command, args })
  t.teardown(() => program.stop('SIGKILL'))
  return program
}

const birdConfig = 'bird.conf'
const control = () => join(folder, 'bird.ctl')
const birdc = (...words: string[]) =>
  execFileSync(systemProgram('nsenter'), [`--net=${router.path}`, systemProgram('birdc'), '-s', control(), ...words], {
    encoding: 'utf8',
  })

function writeBird(password: string, passive: boolean): string {
  const path = join(folder, birdConfig)
  writeFileSync(
    path,
    `log stderr all; router id ${ROUTER}; protocol device {}
protocol bgp node { local ${ROUTER} as 65002; neighbor ${NODE} as 64512; password "${password}"; passive ${passive ? 'yes' : 'no'};
  hold time 60; connect delay time 1; connect retry time 1; error wait time 1,2; ipv4 { import all; export all; }; }`,
  )
  return path
}

const peerOf = async ({ socket }: RunningAgent) =>
  (JSON.parse((await ask(socket, 'GET', '/status')).body) as AgentStatus).peers.find(
    ({ address }) => address === ROUTER,
  )

function is(
  t: ExecutionContext,
  agent: RunningAgent,
  what: string,
  holds: (peer: Awaited<ReturnType<typeof peerOf>>) => boolean,
) {
  return until(t, what, () => peerOf(agent), holds)
}

const established = (peer: Awaited<ReturnType<typeof peerOf>>): boolean => peer?.state === 'Established'

/** An agent with a pod, so that it has a block. */
async function anAgent(t: ExecutionContext, name: string, flags: readonly string[] = []): Promise<RunningAgent> {
  const agent = node.startAgent(name, { flags })
  await until(
    t,
    'ready',
    async () => (await ask(agent.socket, 'GET', '/readyz')).code,
    code => code === 200,
  )
  return agent
}

;(runnable(bird) ? asRoot : test.serial.skip)(
  'BIRD is a peer with the password of the Secret and not with another one, after a change of it at both ends and a restart of the agent without an API server',
  async t => {
    await secretIs('one')
    writeBird('wrong', true)
    atRouter(t, 'bird', bird.program, [
      '-f',
      '-c',
      join(folder, birdConfig),
      '-s',
      control(),
      '-P',
      join(folder, 'bird.pid'),
    ])
    let agent = await anAgent(t, 'bird')
    t.is((JSON.parse((await cniCall(agent.socket, 'ADD', 'c0', node.pod(0))).body) as { exitCode: number }).exitCode, 0)
    const peer = await is(t, agent, 'the password is suspected', seen => seen?.reason === 'signature-suspected')
    t.regex(peer!.detail!, /compare the passwords or keys of both sides/)
    writeBird('one', true)
    birdc('configure')
    await is(t, agent, 'it is up', established)
    // a router forgets its sessions where their password changes, so the router goes first
    writeBird('two', true)
    birdc('configure')
    await is(t, agent, 'the router has another one', peer => !established(peer))
    await secretIs('two')
    await is(t, agent, 'it is up with the new one', established)
    // as after a power cut, while nothing answers at the API server
    agent.child.kill('SIGKILL')
    await agent.ended
    const away = join(folder, 'kubeconfig')
    writeFileSync(away, readFileSync(node.kubeconfig, 'utf8').replaceAll(':6443', ':1'))
    agent = await anAgent(t, 'away', ['--kubeconfig', away])
    await is(t, agent, 'it is up again', established)
    t.is((JSON.parse((await cniCall(agent.socket, 'DEL', 'c0', node.pod(0))).body) as { exitCode: number }).exitCode, 0)
  },
)

;(runnable(frr) ? asRoot : test.serial.skip)(
  'FRR that dials with the password of the Secret is a peer, and without its Secret there is none, nor anybody who takes its connections',
  async t => {
    await secretIs('one')
    const own = join(folder, 'frr')
    mkdirSync(own, { recursive: true })
    writeFileSync(
      join(own, 'bgpd.conf'),
      `router bgp 65002
 bgp router-id ${ROUTER}
 no bgp ebgp-requires-policy
 neighbor ${NODE} remote-as 64512
 neighbor ${NODE} timers connect 1
 neighbor ${NODE} password one
`,
    )
    execFileSync(systemProgram('chown'), ['-R', 'frr:frr', own])
    execFileSync(systemProgram('chmod'), ['755', folder])
    const files = ['-f', join(own, 'bgpd.conf'), '-i', join(own, 'bgpd.pid'), '--vty_socket', own, '-l', ROUTER]
    const program = atRouter(t, 'frr', frr.program, [
      '--no_zebra',
      ...files,
      '-u',
      'frr',
      '-g',
      'frr',
      '--log',
      'stdout',
    ])
    const agent = await anAgent(t, 'frr')
    await is(t, agent, `it is up: ${program.output()}`, established)
    t.true(existsSync(join(node.dataDir, 'bgp-secrets')))
    node.ctl('delete', 'secret', 'bgp', '-n', 'kube-system')
    await is(t, agent, 'it is gone', peer => peer === undefined)
    await until(
      t,
      'its password too',
      () => existsSync(join(node.dataDir, 'bgp-secrets')),
      isThere => !isThere,
    )
    const { conditions } = JSON.parse((await ask(agent.socket, 'GET', '/status')).body) as AgentStatus
    t.true(conditions.some(({ reason, message }) => reason === 'NoSecret' && message.includes('kube-system/bgp')))
    await secretIs('one')
    await is(t, agent, 'it is back', established)
  },
)
