// What the annotations of a Pod ask of its packets, with Calico's names, ranges and defaults (its conversion of workload
// endpoints, 3.31). Pure. A pod runs whatever its annotations say: what makes no sense is left out and told, and what is more
// than can be had is the most that can.
import { BANDWIDTH_ANNOTATIONS, QOS_ANNOTATION } from '../../api/core.ts'
import type { Resource } from '../../api/kinds.ts'
import { broken, type Condition } from '../../api/status.ts'
import type { PacketLimits, Qos } from '../../felix/policy/model.ts'

/** The most of each; the least is 1. Of packets they are what Calico takes, of connections what the kernel counts. */
const MOST = { rate: 10_000, burst: 10_000, connections: 2 ** 32 - 1 } as const
/** What nft and Calico take where nothing is said. */
const BURST = 5

const SUFFIXES: Readonly<Record<string, number>> = {
  ...{ n: 1e-9, u: 1e-6, m: 1e-3, '': 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18 },
  ...{ Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50, Ei: 2 ** 60 },
}
/** A quantity of Kubernetes: `100`, `1.5k`, `1Ki`, `2e3`. */
const QUANTITY = /^(\+?(?:\d{1,20}(?:\.\d{0,20})?|\.\d{1,20}))(?:([numkMGTPE]|[KMGTPE]i)?|[eE]([+-]?\d{1,2}))$/

/** RFC 2474, RFC 2597, RFC 3246. */
const DSCP_WORDS: Readonly<Record<string, number>> = {
  ...{ DF: 0, EF: 46, CS0: 0, CS1: 8, CS2: 16, CS3: 24, CS4: 32, CS5: 40, CS6: 48 },
  ...{ AF11: 10, AF12: 12, AF13: 14, AF21: 18, AF22: 20, AF23: 22 },
  ...{ AF31: 26, AF32: 28, AF33: 30, AF41: 34, AF42: 36, AF43: 38 },
}
/** The most of a value that is told again. */
const SHOWN = 40

/** `qos` undefined: nothing that can be done is asked. */
export function podQos({ metadata }: Resource<'Pod'>): { qos?: Qos; told?: Condition } {
  const { annotations = {}, name, namespace = '' } = metadata
  const faults: { annotation: string; text: string }[] = []
  const read = (annotation: string, most: number): number | undefined => {
    const text = annotations[annotation]
    if (text === undefined) return undefined
    const value = quantity(text)
    if (value !== undefined && value >= 1 && value <= most) return value
    const isMore = value !== undefined && value > most
    const holds = isMore ? `is more than ${most}, which holds` : `is no quantity from 1 to ${most}, and is left out`
    faults.push({ annotation, text: `${JSON.stringify(text.slice(0, SHOWN))} ${holds}` })
    return isMore ? most : undefined
  }
  const limits = (direction: 'ingress' | 'egress'): PacketLimits | undefined => {
    const burstName = QOS_ANNOTATION[`${direction}PacketBurst`]
    const perSecond = read(QOS_ANNOTATION[`${direction}PacketRate`], MOST.rate)
    const burst = read(burstName, MOST.burst)
    const connections = read(QOS_ANNOTATION[`${direction}MaxConnections`], MOST.connections)
    if (perSecond === undefined && burst !== undefined)
      faults.push({ annotation: burstName, text: `is left out without ${QOS_ANNOTATION[`${direction}PacketRate`]}` })
    if (perSecond === undefined && connections === undefined) return undefined
    return {
      ...(perSecond !== undefined && { rate: { perSecond, burst: burst ?? BURST } }),
      ...(connections !== undefined && { connections }),
    }
  }
  const [ingress, egress] = [limits('ingress'), limits('egress')]
  const mark = annotations[QOS_ANNOTATION.dscp]
  const dscp = mark === undefined ? undefined : dscpOf(mark)
  if (mark !== undefined && dscp === undefined)
    faults.push({
      annotation: QOS_ANNOTATION.dscp,
      text: `${JSON.stringify(mark.slice(0, SHOWN))} is no number from 0 to 63 and no word such as EF or AF11, and is left out`,
    })
  const bandwidth = BANDWIDTH_ANNOTATIONS.filter(annotation => annotations[annotation] !== undefined)
  const asks = ingress !== undefined || egress !== undefined || dscp !== undefined
  const qos: Qos = { ...(ingress && { ingress }), ...(egress && { egress }), ...(dscp !== undefined && { dscp }) }
  const told = tellFaults(faults, bandwidth)
  return {
    ...(asks && { qos }),
    ...(told && { told: broken('QosApplied', { object: { kind: 'Pod', namespace, name }, ...told }) }),
  }
}

function tellFaults(faults: readonly { annotation: string; text: string }[], bandwidth: readonly string[]) {
  if (faults.length + bandwidth.length === 0) return undefined
  const limited = bandwidth.length === 0 ? [] : [`${bandwidth.join(', ')}: bandwidth is not limited by this version`]
  const message = [...faults.map(({ annotation, text }) => `${annotation}: ${text}`), ...limited].join('; ')
  const wrong = [...new Set(faults.map(({ annotation }) => annotation))]
  const remedies = [
    ...(wrong.length > 0 ? [`correct ${wrong.join(', ')}`] : []),
    ...(bandwidth.length > 0 ? [`take ${bandwidth.join(', ')} away, and limit packets instead`] : []),
  ]
  return {
    reason: faults.length > 0 ? 'Invalid' : 'NotSupported',
    message,
    remedy: `${remedies.join('; ')}; the pod runs`,
  }
}

/** A whole number, rounded up as Kubernetes does; undefined for what is no quantity. */
function quantity(text: string): number | undefined {
  const [, digits, suffix = '', exponent = '0'] = QUANTITY.exec(text) ?? []
  if (digits === undefined) return undefined
  const value = Number(digits) * SUFFIXES[suffix]! * 10 ** Number(exponent)
  // 0.3 * 10 is a little more than 3
  return Math.ceil(Number(value.toPrecision(15)))
}

function dscpOf(text: string): number | undefined {
  if (/^\d{1,2}$/.test(text)) return Number(text) <= 63 ? Number(text) : undefined
  const word = text.trim().toUpperCase()
  return Object.hasOwn(DSCP_WORDS, word) ? DSCP_WORDS[word] : undefined
}
