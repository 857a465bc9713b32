// 500 pods of one node at once, as requests over the real socket of a whole agent: its kernel and its API server are in memory,
// so that what is measured is who has its turn.
import { mkdtempSync, rmSync } from 'node:fs'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { serveSocket } from '../../agent/socket/server.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { answerCni } from '../../cni/http.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import type { HttpRoute } from '../../lib/http-routes.ts'
import { silentLog } from '../../lib/log.ts'
import { aNode, aPool } from '../datastore/objects.ts'
import { aMachine, eventually, startAgent } from './machines.ts'

const PODS = 500
const CONF = { cniVersion: '1.1.0', name: 'net', type: 'margay' }

type Answer = { exitCode: number; stdout: string }

/** An agent that can serve pods, its socket, and what was answered to ADDs so far. */
async function aServedNode(t: ExecutionContext) {
  const store = createFakeStore()
  await store.create('Node', aNode('n1'))
  await store.create('IPPool', aPool('pool', { cidr: '10.244.0.0/16' }))
  const machine = await aMachine(t, 'n1', '192.0.2.11')
  const agent = await startAgent(t, machine, store, new MemoryNetwork())
  await eventually(
    t,
    'ready',
    () => agent.ready(),
    ready => ready,
  )
  const folder = mkdtempSync(join(tmpdir(), 'mp-'))
  const socketPath = join(folder, 'agent.sock')
  const routes: Record<string, HttpRoute> = { 'POST /cni': (req, res) => answerCni(req, res, agent.cni()) }
  const socket = await serveSocket(socketPath, routes, silentLog)
  t.teardown(async () => {
    await socket.close(0)
    rmSync(folder, { recursive: true, force: true })
  })
  const seen = { adds: 0 }
  const call = (verb: string, id: string, more: object = {}): { asked: ClientRequest; answer: Promise<Answer> } => {
    const env = {
      CNI_COMMAND: verb,
      CNI_CONTAINERID: id,
      CNI_NETNS: `/run/netns/${id}`,
      CNI_IFNAME: 'eth0',
      CNI_PATH: '/',
    }
    const body = JSON.stringify({ env, stdin: JSON.stringify({ ...CONF, ...more }) })
    const asked = request({ socketPath, method: 'POST', path: '/cni', agent: false })
    const answer = new Promise<Answer>((resolve, reject) => {
      asked.once('error', reject)
      const read = async (response: IncomingMessage) => {
        let text = ''
        for await (const chunk of response) text += chunk
        // of one that is given up the head may have come already
        if (!response.complete) throw new Error('the answer ended early')
        if (verb === 'ADD') seen.adds++
        return JSON.parse(text) as Answer
      }
      asked.once('response', response => void read(response).then(resolve, reject))
    })
    asked.end(body)
    return { asked, answer }
  }
  return { agent, machine, call, seen }
}

test('500 ADDs at once are all served, each with its own address, and DEL, CHECK, STATUS and GC do not wait for them', async t => {
  t.timeout(120_000)
  const { agent, machine, call, seen } = await aServedNode(t)
  const names = Array.from({ length: PODS }, (_, i) => `w${i}`)
  for (const name of names) machine.world.addNetns(`/run/netns/${name}`)
  const before = await call('ADD', 'c0').answer
  t.is(before.exitCode, 0, before.stdout)
  t.is((await call('ADD', 'c1').answer).exitCode, 0)
  seen.adds = 0

  const adds = names.map(name => call('ADD', name))
  const [overtaken, givenUp] = [adds[400]!, adds[450]!]
  const lost = t.throwsAsync(givenUp.answer)
  await adds[0]!.answer
  givenUp.asked.destroy()
  const prompt = await Promise.all([
    call('CHECK', 'c0', { prevResult: JSON.parse(before.stdout) }).answer,
    call('DEL', 'c1').answer,
    call('DEL', 'w400').answer,
    call('STATUS', '').answer,
    call('GC', '', {
      'cni.dev/valid-attachments': [...names, 'c0'].map(containerID => ({ containerID, ifname: 'eth0' })),
    }).answer,
  ])
  for (const answer of prompt)
    t.deepEqual({ ...answer, unpin: undefined }, { exitCode: 0, stdout: '', unpin: undefined })
  // in the order of their arrival they would be the last ones
  t.true(seen.adds < PODS * 0.8, `${seen.adds} ADDs were answered before the last of the others`)

  const served = await Promise.all(adds.filter(add => add !== overtaken && add !== givenUp).map(({ answer }) => answer))
  for (const { exitCode, stdout } of served) t.is(exitCode, 0, stdout)
  const addresses = served.map(({ stdout }) => JSON.parse(stdout).ips[0].address)
  t.is(new Set(addresses).size, PODS - 2)
  t.regex((await overtaken.answer).stdout, /"code":11,.*DEL came while this ADD was waiting/)
  await lost
  const there = agent.endpoints.live().map(({ containerID }) => containerID)
  t.deepEqual(there.sort(), ['c0', ...names.filter(name => name !== 'w400' && name !== 'w450')].sort())
  t.is(agent.allocator.held().size, PODS - 1)
})
