// `ipam release` of addresses that the owner of a block lent to another node, with the agents of both.
import test from 'ava'
import { blockName } from '../../api/names.ts'
import type { Released, ReleaseOptions } from '../../ctl/ipam-asking.ts'
import { releaseAddress, releaseLeaks, releaseNode } from '../../ctl/ipam-release.ts'
import { type Agent, startAgent } from '../controllers/agents.ts'
import { pass } from '../controllers/leader.ts'
import { lent } from '../controllers/lent-world.ts'
import { aNode } from '../datastore/objects.ts'

const HOW: ReleaseOptions = { force: false, waitMs: 20_000, borrowerWaitMs: 100 }

async function world() {
  const { shared: store, n1, n2, address, block } = await lent()
  return { store, n1, n2, ip: address.slice(0, address.indexOf('/')), block: blockName(block) }
}

/** What becomes of it while these agents run. */
async function whileRunning(releasing: Promise<Released[]>, ...agents: readonly Agent[]): Promise<Released[]> {
  let done: Released[] | undefined
  void releasing.then(released => {
    done = released
  })
  while (done === undefined) await pass(5, ...agents)
  return done
}

const killAll = async (...agents: readonly Agent[]) => {
  for (const agent of agents) await agent.kill()
}

test('what was lent to a node that is gone is freed by its owner: by its address, by a report, and by that node', async t => {
  for (const by of ['ip', 'report', 'node']) {
    const { store, n1, n2, ip, block } = await world()
    await n1.kill()
    await store.delete('Node', 'n1')
    // its own is waited for longer
    for (const { metadata, spec } of await store.list('IPAMBlock'))
      if (spec.affinity === 'host:n1') await store.delete('IPAMBlock', metadata.name)
    const leak = { ip, handle: 'net.more.eth0', sequenceNumber: undefined }
    const releasing =
      by === 'ip'
        ? releaseAddress(store, ip, HOW)
        : by === 'report'
          ? releaseLeaks(store, [leak], HOW)
          : releaseNode(store, 'n1', HOW)
    const released = await whileRunning(releasing, n2)
    t.deepEqual(released, [{ what: `IPAMBlock ${block}`, freed: [ip] }], by)
    t.deepEqual(n2.allocator.lent(), [])
    await n2.kill()
  }
})

test('what is lent to a node with a Node object, or whose agent answers, stays, and --force takes it all the same', async t => {
  const { store, n1, n2, ip, block } = await world()
  const leak = { ip, handle: 'net.more.eth0', sequenceNumber: undefined }
  for (const releasing of [releaseAddress(store, ip, HOW), releaseLeaks(store, [leak], { ...HOW, force: true })]) {
    const [refused] = await whileRunning(releasing, n1, n2)
    t.regex(refused!.refused ?? '', /^it is lent to node n1, which has a Node object or answers/)
  }
  await store.delete('Node', 'n1')
  const slow = { ...HOW, borrowerWaitMs: 1_000 }
  t.regex((await whileRunning(releaseAddress(store, ip, slow), n1, n2))[0]!.refused ?? '', /answers that it lives/)
  t.deepEqual(n1.allocator.borrowed(), [`${ip}/32`])
  const forced = await whileRunning(releaseAddress(store, ip, { ...HOW, force: true }), n1, n2)
  t.deepEqual(forced, [{ what: `IPAMBlock ${block}`, freed: [ip] }])
  await store.create('Node', aNode('n1'))
  await pass(90, n1, n2)
  t.deepEqual(n1.allocator.borrowed(), [], 'it hears of that once it believes the server again')
  t.regex(JSON.stringify(n1.allocator.conditions()), /must be restarted|restart/)
  await killAll(n1, n2)
})

test('an owner that does not answer is named, and frees what it lent when it is back', async t => {
  const { store, n1, n2, ip } = await world()
  await killAll(n1, n2)
  await store.delete('Node', 'n1')
  const [refused] = await whileRunning(releaseAddress(store, ip, { ...HOW, waitMs: 100 }))
  t.regex(refused!.refused ?? '', /^the agent of n2, which lent it, did not answer yet/)
  const again = startAgent(store, 'n2', n2.db)
  await pass(30, again)
  t.deepEqual(again.allocator.lent(), [])
  await again.kill()
})
