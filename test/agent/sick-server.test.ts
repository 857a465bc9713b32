// A whole agent whose API server is sick, in each way and for each kind of request: pods come and go, the server is asked at a
// bounded rate, the node says what is wrong and what to do, and when the server is well everything is told, once.
import test from 'ava'
import { aPod } from '../datastore/objects.ts'
import {
  aSickCluster,
  assertBounded,
  assertPublished,
  attached,
  call,
  FAULTS,
  MINUTE_MS,
  stepOf,
  told,
  wrong,
} from './sick-cluster.ts'
import type { Fault } from './sick-server.ts'

const ALL = /./
const BLOCKS = /\/ipamblocks\b/
const WATCHES = /watch=true/
const POLICIES = /\/(pods|tiers|[a-z]*networkpolicies)\b/

const WHERE: readonly [title: string, where: RegExp][] = [
  ['to everything', ALL],
  ['to what is about blocks', BLOCKS],
  ['to what is about pods and policies', POLICIES],
  ['to watches', WATCHES],
]

/** Whether the fault is before a request is read. */
const isOfAll = (fault: Fault) => fault === 'away' || fault === 'an expired certificate'

for (const [does, fault, reason, remedy] of FAULTS)
  for (const [what, where] of isOfAll(fault) ? WHERE.slice(0, 1) : WHERE)
    test.serial(
      `a server that ${does} ${what} keeps no pod waiting, is asked seldom, is told with a remedy, and later has all`,
      async t => {
        const { server, startWell, isWell } = await aSickCluster(t, fault)
        const agent = await startWell(server.store({ impatient: fault === 'nothing' }))
        t.is((await call(server, agent, 'ADD', 'c0')).exitCode, 0)

        server.sicken(fault, where)
        for (const [command, pod] of [
          ['ADD', 'c1'],
          ['DEL', 'c0'],
          ['ADD', 'c2'],
        ] as const) {
          const startMs = server.clock.monotonicMs()
          const answer = await call(server, agent, command, pod)
          t.is(answer.exitCode, 0, answer.stdout)
          t.true(
            server.clock.monotonicMs() - startMs < 1000,
            `${command} took ${server.clock.monotonicMs() - startMs} ms`,
          )
        }
        await server.pass(MINUTE_MS, stepOf(fault))
        assertBounded(t, server)
        t.true(agent.ready(), 'running pods and new ones are served')
        t.is((await call(server, agent, 'STATUS', 'c1')).exitCode, 0)
        const said = told(agent, 'ApiServerConnected')
        t.like(said, { status: 'False', reason }, JSON.stringify(wrong(agent)))
        t.regex(said!.remedy, remedy)
        const blocks = told(agent, 'BlocksPublished')
        // a write whose answer is cut has been made
        if ((where === ALL || where === BLOCKS) && fault !== 'half an answer')
          t.is(blocks?.status, 'False', JSON.stringify(wrong(agent)))

        server.heal()
        t.true(await server.until(isWell(agent), MINUTE_MS), JSON.stringify(wrong(agent)))
        await assertPublished(t, server, agent)
        t.is((await call(server, agent, 'ADD', 'c3')).exitCode, 0)
      },
    )

for (const [does, fault] of FAULTS.filter(([, each]) => !isOfAll(each)))
  test.serial(
    `where a server ${does} to what is about pods and policies, a new pod that it did not tell of is refused with the cause, alone, and added when it is well`,
    async t => {
      const { server, startWell } = await aSickCluster(t, fault)
      const agent = await startWell(server.store({ impatient: fault === 'nothing' }))
      server.sicken(fault, POLICIES)
      await server.healthy.create('Pod', aPod('new', { nodeName: 'n1' }))
      const { exitCode, stdout } = await call(server, agent, 'ADD', 'new')
      t.is(exitCode, 1)
      const cause = typeof fault === 'object' ? `sick with ${fault.code} ` : 'cannot reach the API server'
      const { msg } = JSON.parse(stdout) as { msg: string }
      t.true(msg.includes('told nothing of Pod default/new yet') && msg.includes(cause), msg)
      t.is((await call(server, agent, 'ADD', 'c0')).exitCode, 0)
      t.deepEqual(attached(agent).length, 1, 'nothing of the other is left')
      server.heal()
      t.true(await server.until(async () => (await call(server, agent, 'ADD', 'new')).exitCode === 0, MINUTE_MS))
    },
  )
