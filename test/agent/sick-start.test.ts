// An agent that starts while its API server is sick: with what an earlier run knew it serves its pods; without, it says why not.
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

for (const [does, fault, reason, remedy] of FAULTS)
  test.serial(
    `an agent that starts again where the server ${does} serves its pods, says why, and later tells all`,
    async t => {
      const { server, start, startWell, isWell } = await aSickCluster(t, fault)
      const first = await startWell()
      t.is((await call(server, first, 'ADD', 'c0')).exitCode, 0)
      await first.close()

      server.sicken(fault, ALL)
      const agent = await start(server.store({ impatient: fault === 'nothing' }))
      t.true(await server.until(() => agent.ready(), 5000), JSON.stringify(wrong(agent)))
      t.is((await call(server, agent, 'ADD', 'c1')).exitCode, 0)
      t.is((await call(server, agent, 'DEL', 'c0')).exitCode, 0)
      await server.pass(MINUTE_MS, stepOf(fault))
      assertBounded(t, server)
      const said = told(agent, 'ApiServerConnected')
      t.like(said, { status: 'False', reason }, JSON.stringify(wrong(agent)))
      t.regex(said!.remedy, remedy)
      t.is(told(agent, 'ClusterRecognised')?.status, 'True', 'a server that says nothing is no other cluster')

      server.heal()
      t.true(await server.until(isWell(agent), MINUTE_MS), JSON.stringify(wrong(agent)))
      await assertPublished(t, server, agent)
    },
  )

for (const [does, fault] of FAULTS)
  test.serial(
    `an agent that never saw the cluster, where the server ${does}, refuses pods with the cause and a remedy, and begins when it is well`,
    async t => {
      const { server, start, isWell } = await aSickCluster(t, fault)
      server.sicken(fault, ALL)
      const agent = await start(server.store({ impatient: fault === 'nothing' }))
      await server.pass(MINUTE_MS, stepOf(fault))
      assertBounded(t, server)
      for (const command of ['ADD', 'STATUS'] as const) {
        const { exitCode, stdout } = await call(server, agent, command, 'c0')
        t.is(exitCode, 1)
        const { details } = JSON.parse(stdout) as { details: string }
        t.regex(details, /the cluster was never seen: .*; .*; \w+/)
        t.true(details.includes(told(agent, 'ApiServerConnected')!.remedy), details)
      }
      server.heal()
      t.true(await server.until(isWell(agent), MINUTE_MS), JSON.stringify(wrong(agent)))
      t.is((await call(server, agent, 'ADD', 'c0')).exitCode, 0)
      await assertPublished(t, server, agent)
      server.heal() // connections break once more
      await server.pass(MINUTE_MS / 2, 2000)
      t.deepEqual(wrong(agent), [], 'it is the same cluster')
    },
  )
