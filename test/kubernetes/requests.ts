// What the agents ask of the API server, read from its audit log: under which name, with which rights, how often.
import assert from 'node:assert/strict'
import type { AuditEvent } from '../../lab/kubernetes/programs.ts'
import { hundredPods } from './addresses.ts'
import type { Case, Cluster } from './case.ts'
import { seconds } from './observe.ts'

const AGENT = 'system:serviceaccount:kube-system:margay-node'
const WRITES = new Set(['create', 'update', 'patch', 'delete'])
const QUIET_MS = 75_000
const MOST_WRITES_PER_POD = 0.1
const SETTLED_MS = 5000

/** Requests of the agents that were answered since `sinceMs`, the end of each. */
function requests({ lab }: Cluster, sinceMs = 0): AuditEvent[] {
  return lab.audit().filter(({ user, stage, stageTimestamp }) => {
    return user.username === AGENT && stage === 'ResponseComplete' && Date.parse(stageTimestamp) >= sinceMs
  })
}

const shown = ({ verb, requestURI, responseStatus }: AuditEvent) => `${verb} ${requestURI}: ${responseStatus?.code}`

export const requestCases: readonly Case[] = [
  {
    title: 'every request of an agent names the program and its version, and none is forbidden',
    short: true,
    async run(cluster) {
      const all = requests(cluster)
      assert.ok(all.length > 0, 'the audit log has no request of an agent')
      const unnamed = all.filter(({ userAgent }) => !/^margay-node\/\d+\.\d+\.\d+/.test(userAgent ?? ''))
      assert.deepEqual(
        unnamed.map(({ userAgent }) => userAgent),
        [],
      )
      const refused = all.filter(({ responseStatus }) => responseStatus?.code === 403 || responseStatus?.code === 401)
      assert.deepEqual(refused.map(shown), [])
      const kinds = all.map(({ verb, objectRef }) => {
        return `${verb} ${objectRef?.resource ?? 'none'}${objectRef?.subresource ? `/${objectRef.subresource}` : ''}`
      })
      return `${all.length} requests: ${[...new Set(kinds)].sort().join(', ')}`
    },
  },
  {
    title: `100 pods that come and go cost fewer than ${MOST_WRITES_PER_POD} writes of the agents per pod`,
    short: true,
    async run(cluster) {
      const { pods, sinceMs, untilMs } = await hundredPods(cluster)
      // what the last of them left to be written
      await seconds(Math.max(0, untilMs + SETTLED_MS - Date.now()) / 1000)
      const writes = requests(cluster, sinceMs).filter(({ verb, stageTimestamp }) => {
        return WRITES.has(verb) && Date.parse(stageTimestamp) < untilMs + SETTLED_MS
      })
      const perPod = writes.length / pods
      assert.ok(perPod < MOST_WRITES_PER_POD, `${perPod} per pod, such as ${writes.slice(0, 5).map(shown).join('; ')}`)
      return `${perPod.toFixed(2)} per pod`
    },
  },
  {
    title: `in ${QUIET_MS / 1000} quiet seconds agents list no kind as a whole, and open each watch that ends again within a second`,
    short: false,
    async run(cluster) {
      const sinceMs = Date.now()
      await seconds(QUIET_MS / 1000)
      const quiet = requests(cluster, sinceMs + 2000)
      const [absent, served] = [true, false].map(isAbsent =>
        quiet.filter(({ verb, responseStatus }) => verb === 'list' && (responseStatus?.code === 404) === isAbsent),
      ) as [AuditEvent[], AuditEvent[]]
      // one object says whether there are policies of an older form
      const lists = served.filter(({ requestURI }) => !/[?&]limit=1\b/.test(requestURI))
      assert.deepEqual(lists.map(shown), [])
      // kinds that the server does not serve are asked for more and more rarely
      assert.ok(absent.length < 10 * cluster.lab.plan.nodes.length, absent.slice(0, 5).map(shown).join('; '))
      const starts = cluster.lab
        .audit()
        .filter(({ user, verb, stage }) => user.username === AGENT && verb === 'watch' && stage === 'ResponseStarted')
      const late = quiet
        .filter(({ verb, stageTimestamp }) => verb === 'watch' && Date.parse(stageTimestamp) < Date.now() - 2000)
        .filter(ended => {
          const endedMs = Date.parse(ended.stageTimestamp)
          return !starts.some(({ objectRef, stageTimestamp }) => {
            const gapMs = Date.parse(stageTimestamp) - endedMs
            return objectRef?.resource === ended.objectRef?.resource && gapMs > -1000 && gapMs < 1000
          })
        })
      assert.deepEqual(late.map(shown), [])
      const writes = quiet.filter(({ verb }) => WRITES.has(verb))
      return `${quiet.filter(({ verb }) => verb === 'watch').length} watches ended, ${writes.length} writes`
    },
  },
]
