// The report of `ipam check`: what is wrong, and every address that is given, under the names of calicoctl's report, for programs
// that read those. `ipam release` takes reports back. Pure.
import * as z from 'zod'
import { isLocked } from '../api/datastore-lock.ts'
import { parseJson } from '../api/json.ts'
import type { Resource } from '../api/kinds.ts'
import { parseAddress } from '../lib/ip.ts'
import { UsageError } from './failure.ts'
import type { Allocation } from './ipam-compare.ts'
import type { Fault } from './ipam-faults.ts'

type ClusterInformation = Resource<'ClusterInformation'>

export type Report = {
  /** Of the program that wrote it. */
  version: string
  clusterGUID: string
  clusterType: string
  /** The `resourceVersion` of the ClusterInformation. */
  clusterInformationRevision: string
  datastoreLocked: boolean
  pools: number
  blocks: number
  nodes: number
  /** Nodes that answered, and those that were not asked. */
  asked: readonly string[]
  unasked: readonly { node: string; why: string }[]
  /** Pods whose interface was looked at, by their nodes. */
  looked: number
  faults: readonly Fault[]
  /** By address. More than one only where two blocks give it. */
  allocations: Readonly<Record<string, readonly Allocation[]>>
}

/** What a report says of its cluster: of one without a ClusterInformation nothing, and no report of it can be used. */
export function clusterOf(
  info: ClusterInformation | undefined,
): Pick<Report, 'clusterGUID' | 'clusterType' | 'clusterInformationRevision' | 'datastoreLocked'> {
  return {
    clusterGUID: info?.spec.clusterGUID ?? '',
    clusterType: info?.spec.clusterType ?? '',
    clusterInformationRevision: info?.metadata.resourceVersion ?? '',
    datastoreLocked: info !== undefined && isLocked(info),
  }
}

const integer = z.union([z.int(), z.bigint()])
const address = z.string().transform((text, context) => {
  const parsed = parseAddress(text)
  if (parsed === undefined) context.addIssue('no IP address')
  return parsed ?? text
})
const report = z.looseObject({
  version: z.string(),
  clusterGUID: z.string(),
  clusterInformationRevision: z.string(),
  allocations: z.record(
    z.string(),
    z.array(
      z.looseObject({
        ip: address,
        handle: z.string().optional(),
        sequenceNumber: integer.optional(),
        inUse: z.boolean(),
      }),
    ),
  ),
})

/** An address that nothing uses, by every report. */
export type Leak = { ip: string; handle: string | undefined; sequenceNumber: bigint | undefined }

/**
 * What is leaked by all reports, in one assignment of the address. Throws UsageError, as calicoctl, for reports of another cluster, for
 * those of another version unless it is forced, and where none is newer than the last change of the ClusterInformation.
 */
export function leaksOf(
  reports: readonly { name: string; text: string }[],
  { version, info, force }: { version: string; info: ClusterInformation | undefined; force: boolean },
): Leak[] {
  const parsed = reports.map(({ name, text }) => ({ name, ...parsedReport(name, text) }))
  const now = clusterOf(info)
  if (now.clusterGUID === '')
    throw new UsageError(
      'the cluster has no ClusterInformation default with a clusterGUID: nobody can tell whose report it is',
    )
  for (const { name, ...each } of parsed) {
    if (each.clusterGUID !== now.clusterGUID) throw new UsageError(`${name} is a report of another cluster`)
    if (each.version !== version && !force)
      throw new UsageError(
        `${name} was written by version ${each.version}, and this is ${version}: write a new one, or use --force`,
      )
  }
  if (!parsed.some(each => each.clusterInformationRevision === now.clusterInformationRevision))
    throw new UsageError(
      'the ClusterInformation changed since these reports were written: write a new one, and give that too',
    )
  const [first, ...others] = parsed.map(({ allocations }) => leaksIn(allocations))
  return [...first!.entries()].flatMap(([key, leak]) => (others.every(leaks => leaks.has(key)) ? [leak] : []))
}

function leaksIn(allocations: z.infer<typeof report>['allocations']): Map<string, Leak> {
  const all = Object.values(allocations).flat()
  const leaked = all
    .filter(({ inUse }) => !inUse)
    .map(({ ip, handle, sequenceNumber }): Leak => {
      return { ip, handle, sequenceNumber: sequenceNumber === undefined ? undefined : BigInt(sequenceNumber) }
    })
  return new Map(leaked.map(leak => [`${leak.ip} ${leak.handle} ${leak.sequenceNumber}`, leak]))
}

function parsedReport(name: string, text: string): z.infer<typeof report> {
  const result = report.safeParse(jsonOf(text))
  if (result.success) return result.data
  throw new UsageError(`${name} is no report: write one with 'margayctl ipam check --all -o report.json'`)
}

function jsonOf(text: string): unknown {
  try {
    return parseJson(text)
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}
