// What pods are told of names of domains, for policies that name them: copies of the answers that they get from the resolvers
// that are believed, read, kept until they expire, and told to felix. No packet waits for any of it.
// Hazards: a pod may use an address in the moment in which it is told of it, so an answer goes to felix at once. While no agent
// runs nobody hears what pods are told, and what they were told before goes on in the kernel: each answer of the last run
// counts for its TTL once more, since its pod may have asked again meanwhile.
import { FELIX_ANNOTATION } from '../api/core.ts'
import { configurationOf } from '../api/unsupported.ts'
import type { PodEndpoint } from '../cni/endpoints.ts'
import { type AnswerChanges, DomainAnswers, type ToldName } from '../felix/dns/answers.ts'
import { readAnswer } from '../felix/dns/message.ts'
import { readPacket } from '../felix/dns/packet.ts'
import { TcpStreams } from '../felix/dns/streams.ts'
import type { Felix } from '../felix/loop.ts'
import { ANSWER_GROUP, ANSWER_OCTETS } from '../felix/policy/answer-copies.ts'
import { KernelError } from '../kernel/port/error.ts'
import type { NflogPacket, NflogPort } from '../kernel/port/nflog.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import type { Database } from '../lib/database.ts'
import type { Gap } from './cluster/policies/not-enforced.ts'
import { resolversOf } from './cluster/policies/resolvers.ts'
import type { ClusterView } from './cluster-view.ts'
import { DomainAnswersFile } from './domain-answers-file.ts'

export type DomainNamesDeps = {
  nodeName: string
  view: Pick<ClusterView, 'onChange' | 'get'>
  kernel: NflogPort
  felix: Pick<Felix, 'setAnswer' | 'setResolvers' | 'namesAsked'>
  /** Where answers are kept for the next start: the last second of it may be lost. */
  database: Database
  clock: Clock
  /** `gaps` has changed. */
  changed: () => void
}

/** One by one: a pod waits for each. */
const READING = { batch: 1, batchMs: 10, queueOctets: 16 * 1024 * 1024 } as const
const TICK_MS = 1000
/** Until more of what expired goes. */
const PART_MS = 20
/** How long is told what went wrong, and how soon it is tried again. */
const NOTICE_MS = 600_000
const RETRY_MS = 10_000

export class DomainNames {
  readonly #deps: DomainNamesDeps
  readonly #answers = new DomainAnswers()
  readonly #streams = new TcpStreams()
  readonly #file: DomainAnswersFile
  /** Of this node, by their ids. */
  readonly #pods = new Map<string, PodEndpoint>()
  readonly #byAddress = new Map<string, string>()
  readonly #gaps = new Map<string, Gap>()
  readonly #cancels = new Map<string, Cancel>()
  #reader: { close(): void } | undefined
  #isWanted = false
  #isStarted = false
  #followed: { text: string | undefined } | undefined
  #isClosed = false

  /** Copies, as long as they are told. */
  #lost = 0

  /** Throws DatabaseError. */
  constructor(deps: DomainNamesDeps) {
    this.#deps = deps
    this.#file = new DomainAnswersFile(deps.database, deps.clock, (pod, name) => this.#answers.of(pod, name))
  }

  /** What is not as it should be, as far as policies ask for names at all. */
  get gaps(): readonly Gap[] {
    return this.#isWanted ? [...this.#gaps.values()] : []
  }

  /** Some policy of the cluster asks for names: answers are read from now on, or from the start on. */
  want(): void {
    if (this.#isWanted) return
    this.#isWanted = true
    if (this.#isStarted) this.#read()
  }

  /** A pod interface of this node came or changed. What it was told before, also by an earlier run, counts. */
  setLocal(pod: PodEndpoint): void {
    const before = this.#pods.get(pod.id)
    for (const address of before?.addresses ?? []) this.#byAddress.delete(address)
    this.#pods.set(pod.id, pod)
    for (const address of pod.addresses) this.#byAddress.set(address, pod.id)
    const { clock } = this.#deps
    for (const { name, told } of this.#file.take(pod.id)) {
      const expired = told.filter(({ ttlSeconds }) => ttlSeconds === 0).map(({ address }) => address)
      for (const each of this.#answers.remember(pod.id, name, expired)) this.#tellName(each)
      const counted = told.filter(({ ttlSeconds }) => ttlSeconds > 0)
      this.#tell(this.#answers.tell(pod.id, name, counted, clock.monotonicMs()))
    }
    if (before === undefined || `${before.addresses}` === `${pod.addresses}`) return
    for (const name of this.#answers.namesOf(pod.id)) this.#tellName(name)
  }

  /** A pod interface of this node went, and with it what it was told. */
  removeLocal({ id, addresses }: PodEndpoint): void {
    for (const name of this.#answers.forget(id)) this.#tellName(name)
    this.#streams.forget(id)
    this.#pods.delete(id)
    for (const address of addresses) if (this.#byAddress.get(address) === id) this.#byAddress.delete(address)
  }

  /** All pods that are here are known: what is kept of others goes. Believes whom FelixConfiguration names, from now on. */
  start(): void {
    this.#isStarted = true
    this.#deps.view.onChange('FelixConfiguration', () => this.#follow())
    this.#follow()
    this.#file.forgetOthers()
    if (this.#isWanted) this.#read()
  }

  close(): void {
    this.#isClosed = true
    this.#reader?.close()
    for (const cancel of this.#cancels.values()) cancel()
    this.#file.close()
  }

  #follow(): void {
    const { view, nodeName, felix } = this.#deps
    const saidBy = (name: string) =>
      view.get('FelixConfiguration', name)?.metadata.annotations?.[FELIX_ANNOTATION.dnsTrustedServers]
    const text = saidBy(configurationOf(nodeName)) ?? saidBy('default')
    if (this.#followed !== undefined && this.#followed.text === text) return
    this.#followed = { text }
    const { resolvers, wrong } = resolversOf(text)
    felix.setResolvers(resolvers)
    this.#note('resolvers', wrong.length === 0 ? undefined : notResolvers(wrong))
  }

  #read(): void {
    try {
      this.#reader = this.#deps.kernel.nflog({
        ...READING,
        group: ANSWER_GROUP,
        copyOctets: ANSWER_OCTETS,
        received: packets => this.#received(packets),
        lost: count => {
          this.#lost += count
          this.#noteFor('lost', answersLost(this.#lost))
        },
      })
      this.#note('reader', undefined)
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
      this.#note('reader', notRead(error))
      this.#after('reader', RETRY_MS, () => this.#read())
    }
  }

  #received(packets: readonly NflogPacket[]): void {
    const nowMs = this.#deps.clock.monotonicMs()
    for (const { payload } of packets) {
      const packet = readPacket(payload)
      const pod = packet && this.#pods.get(this.#byAddress.get(packet.to) ?? '')
      if (packet === undefined || pod === undefined) continue
      const messages = packet.protocol === 'udp' ? [packet.data] : this.#streams.take(pod.id, packet, nowMs)
      for (const message of messages) this.#heard(pod, message, nowMs)
    }
  }

  #heard(pod: PodEndpoint, message: Uint8Array, nowMs: number): void {
    const answer = readAnswer(message)
    if (answer === undefined || this.#deps.felix.namesAsked(pod.interfaceName)?.match(answer.name) !== true) return
    const { name, addresses, ttlSeconds } = answer
    const told = addresses.map(address => ({ address, ttlSeconds }))
    this.#tell(this.#answers.tell(pod.id, name, told, nowMs))
  }

  #tell({ names, givenUp }: AnswerChanges): void {
    for (const name of names) this.#tellName(name)
    for (const id of givenUp) this.#noteFor('bounds', tooMany(this.#pods.get(id)))
    if (this.#answers.size > 0 && !this.#cancels.has('expire')) this.#expireLater()
  }

  #tellName({ pod, name, addresses, expired }: ToldName): void {
    const from = this.#pods.get(pod)?.addresses ?? []
    const isNone = addresses.length + expired.length === 0
    this.#deps.felix.setAnswer(`${pod} ${name}`, isNone ? undefined : { from, name, addresses, expired })
    this.#file.changed(pod, name)
  }

  #expireLater(delayMs = TICK_MS): void {
    this.#after('expire', delayMs, () => {
      const expired = this.#answers.expire(this.#deps.clock.monotonicMs())
      for (const name of expired) this.#tellName(name)
      if (this.#answers.size > 0) this.#expireLater(expired.length > 0 ? PART_MS : TICK_MS)
    })
  }

  #note(what: string, gap: Gap | undefined): void {
    if (this.#gaps.get(what)?.message === gap?.message) return
    if (gap === undefined) this.#gaps.delete(what)
    else this.#gaps.set(what, gap)
    this.#deps.changed()
  }

  /** Tells of what happened, for a time. */
  #noteFor(what: string, gap: Gap): void {
    this.#note(what, gap)
    this.#after(what, NOTICE_MS, () => {
      if (what === 'lost') this.#lost = 0
      this.#note(what, undefined)
    })
  }

  #after(what: string, delayMs: number, fire: () => void): void {
    this.#cancels.get(what)?.()
    if (this.#isClosed) return
    const cancel = this.#deps.clock.after(delayMs, () => {
      this.#cancels.delete(what)
      fire()
    })
    this.#cancels.set(what, cancel)
  }
}

function notResolvers(wrong: readonly string[]): Gap {
  return {
    message: `the annotation ${FELIX_ANNOTATION.dnsTrustedServers} of FelixConfiguration has entries that are no resolvers, and are left out: ${wrong
      .slice(0, 3)
      .map(each => JSON.stringify(each.slice(0, 100)))
      .join(', ')}`,
    remedy:
      'write k8s-service:NAMESPACE/NAME, an address, or either with a port behind it (:53), and commas between them',
  }
}

function notRead({ message }: KernelError): Gap {
  return {
    message: `answers about names of domains cannot be read (${message}): rules by such names accept nothing new`,
    remedy: `load the kernel's module nfnetlink_log, and stop what else reads the group ${ANSWER_GROUP} of NFLOG`,
  }
}

function answersLost(count: number): Gap {
  return {
    message: `${count} copies of answers about names of domains were lost in the last ten minutes: pods may have to ask again before they reach what these names say`,
    remedy: 'look which pods ask so often, and whether this node has processor time to spare',
  }
}

function tooMany(pod: PodEndpoint | undefined): Gap {
  const name = pod?.pod === undefined ? (pod?.id ?? 'one that is gone') : `${pod.pod.namespace}/${pod.pod.name}`
  return {
    message: `Pod ${name} was told more addresses of names of domains than are kept: those that expire first do not count`,
    remedy: 'let its policies name fewer names, or have the pod ask for fewer',
  }
}
