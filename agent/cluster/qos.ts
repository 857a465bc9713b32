// What the annotations of a Pod ask of its packets, with Calico's names, ranges and defaults (its conversion of workload
// endpoints, 3.31). Pure. A pod runs whatever its annotations say: what makes no sense is left out and told, and what is more
// than can be had is the most that can.
import { BANDWIDTH_ANNOTATION, QOS_ANNOTATION } from '../../api/core.ts'
import type { Resource } from '../../api/kinds.ts'
import { broken, type CauseOf, type Condition } from '../../api/status.ts'
import type { LocalEndpoint, PacketLimits, Qos } from '../../felix/policy/model.ts'

/** The most of each; the least is 1. Of packets they are what Calico takes, of connections what the kernel counts. */
const MOST = { rate: 10_000, burst: 10_000, connections: 2 ** 32 - 1 } as const
/** What nft and Calico take where nothing is said. */
const BURST = 5
/** Of bandwidth least and most of each, as in Calico: in bits (per second), but octets of the smallest burst. */
const BANDWIDTH = {
  bandwidth: [1000, 1e15],
  burst: [1000, (2 ** 32 - 1) * 8],
  peakrate: [1010, 1.01e15],
  minburst: [1000, 1e8],
} as const
/** Of bandwidth, in bits. */
const BANDWIDTH_BURST = 4 * 2 ** 30
const OCTET = 8

type Bandwidth = NonNullable<LocalEndpoint['bandwidth']>
type Direction = 'ingress' | 'egress'

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

/** `qos` and `bandwidth` undefined: nothing of it that can be done is asked. */
export function podQos({ metadata }: Resource<'Pod'>): { qos?: Qos; bandwidth?: Bandwidth; told?: Condition } {
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
  const within = (annotation: string, [least, most]: readonly [number, number]): number | undefined => {
    const text = annotations[annotation]
    if (text === undefined) return undefined
    const value = quantity(text)
    if (value !== undefined && value >= least && value <= most) return value
    const instead = value === undefined ? undefined : value > most ? most : least
    const is =
      instead === undefined ? 'is no quantity' : value! > most ? `is more than ${most}` : `is less than ${least}`
    const holds = instead === undefined ? `${is} from ${least} to ${most}, and is left out` : `${is}, which holds`
    faults.push({ annotation, text: `${JSON.stringify(text.slice(0, SHOWN))} ${holds}` })
    return instead
  }
  const rate = (direction: Direction): Bandwidth[Direction] => {
    const names = {
      ...{ bandwidth: QOS_ANNOTATION[`${direction}Bandwidth`], burst: QOS_ANNOTATION[`${direction}Burst`] },
      ...{ peakrate: QOS_ANNOTATION[`${direction}Peakrate`], minburst: QOS_ANNOTATION[`${direction}Minburst`] },
    }
    const said = (name: keyof typeof names) => within(names[name], BANDWIDTH[name])
    const bandwidth = said('bandwidth') ?? within(BANDWIDTH_ANNOTATION[direction], BANDWIDTH.bandwidth)
    const [burst, peakrate, minburst] = [said('burst'), said('peakrate'), said('minburst')]
    const needs = (name: keyof typeof names, what: string) =>
      faults.push({ annotation: names[name], text: `is left out without ${what}` })
    if (burst !== undefined && bandwidth === undefined) needs('burst', names.bandwidth)
    // in the whole octets that the kernel counts, and it refuses all of a limit whose peak is no more than the rate
    const isPeak = peakrate !== undefined && bandwidth !== undefined && octets(peakrate) > octets(bandwidth)
    if (peakrate !== undefined && !isPeak) needs('peakrate', `a lower ${names.bandwidth}`)
    if (minburst !== undefined && !isPeak) needs('minburst', `${names.peakrate} that counts`)
    if (bandwidth === undefined) return undefined
    return {
      ...{ rate: octets(bandwidth), burst: octets(burst ?? BANDWIDTH_BURST) },
      ...(isPeak && { peak: { rate: octets(peakrate), ...(minburst !== undefined && { burst: minburst }) } }),
    }
  }
  const limits = (direction: Direction): PacketLimits | undefined => {
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
  const [toPod, fromPod] = [rate('ingress'), rate('egress')]
  const isChained = Object.values(BANDWIDTH_ANNOTATION).some(annotation => annotations[annotation] !== undefined)
  const bandwidth: Bandwidth = {
    ...{ ...(toPod && { ingress: toPod }), ...(fromPod && { egress: fromPod }) },
    ...(isChained && { yields: true }),
  }
  const asks = ingress !== undefined || egress !== undefined || dscp !== undefined
  const qos: Qos = { ...(ingress && { ingress }), ...(egress && { egress }), ...(dscp !== undefined && { dscp }) }
  const told = tellFaults(faults)
  return {
    ...(asks && { qos }),
    ...((toPod ?? fromPod) && { bandwidth }),
    ...(told && { told: broken('QosApplied', { object: { kind: 'Pod', namespace, name }, ...told }) }),
  }
}

function octets(bits: number): number {
  return Math.floor(bits / OCTET)
}

function tellFaults(faults: readonly { annotation: string; text: string }[]): CauseOf<'QosApplied'> | undefined {
  if (faults.length === 0) return undefined
  const wrong = [...new Set(faults.map(({ annotation }) => annotation))]
  return {
    reason: 'Invalid',
    message: faults.map(({ annotation, text }) => `${annotation}: ${text}`).join('; '),
    remedy: `correct ${wrong.join(', ')}; the pod runs`,
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
