// How far a node comes whose API server is sick: to the last of its addresses, and for an hour.
import test from 'ava'
import {
  aSickCluster,
  assertBounded,
  assertPublished,
  call,
  FAULTS,
  MINUTE_MS,
  stepOf,
  told,
  wrong,
} from './sick-cluster.ts'

const ALL = /./

// a claim whose answer is cut has been made, and is found
for (const [does, fault] of FAULTS.filter(([, each]) => each !== 'half an answer'))
  test.serial(
    `a node whose addresses are all in use, where the server ${does}, refuses a pod with the cause, says so, and gets a block when it is well`,
    async t => {
      const { server, startWell, isWell } = await aSickCluster(t, fault, { cidr: '10.244.0.0/28', blockSize: 31 })
      const agent = await startWell(server.store({ impatient: fault === 'nothing' }))
      server.sicken(fault, ALL)
      const pods = ['c0', 'c1', 'c2', 'c3', 'c4']
      let refused: { pod: string; stdout: string } | undefined
      for (const pod of pods) {
        const { exitCode, stdout } = await call(server, agent, 'ADD', pod)
        if (exitCode === 0) continue
        refused = { pod, stdout }
        break
      }
      t.log(refused?.pod, refused?.stdout.slice(0, 400))
      const { msg, details } = JSON.parse(refused!.stdout) as { msg: string; details: string }
      t.regex(`${msg}; ${details}`, /a new block needs the API server/)
      await server.pass(MINUTE_MS, stepOf(fault))
      assertBounded(t, server)
      t.like(told(agent, 'AddressesLeft'), { status: 'False', reason: 'AllInUse' }, JSON.stringify(wrong(agent)))
      t.is((await call(server, agent, 'STATUS', 'c0')).exitCode, 0, 'running pods are served')
      t.is((await call(server, agent, 'DEL', 'c0')).exitCode, 0)
      t.is((await call(server, agent, 'ADD', refused!.pod)).exitCode, 0, 'the address that was released is given')

      server.heal()
      t.true(await server.until(isWell(agent), 2 * MINUTE_MS), JSON.stringify(wrong(agent)))
      t.is((await call(server, agent, 'ADD', 'c0')).exitCode, 0)
      await assertPublished(t, server, agent)
    },
  )

const LASTING = FAULTS.filter(
  ([, fault]) => fault === 'away' || (typeof fault === 'object' && [404, 429].includes(fault.code)),
)

for (const [does, fault] of LASTING)
  test.serial(`pods come and go for an hour while the server ${does}, and a minute later it has all`, async t => {
    const { server, startWell, isWell } = await aSickCluster(t, fault)
    const agent = await startWell()
    server.sicken(fault, ALL)
    for (let turn = 0; turn < 12; turn++) {
      const pod = `c${turn % 5}`
      t.is((await call(server, agent, 'ADD', pod)).exitCode, 0)
      await server.pass(5 * MINUTE_MS, 30_000)
      assertBounded(t, server)
      if (turn % 3 > 0) t.is((await call(server, agent, 'DEL', pod)).exitCode, 0)
    }
    t.is((await server.healthy.list('IPAMBlock')).length, 1)
    server.heal()
    t.true(await server.until(isWell(agent), MINUTE_MS), JSON.stringify(wrong(agent)))
    await assertPublished(t, server, agent)
  })
