// What felix put right of what other programs did, as people read it: what was changed, from what to what, and by whom. Pure.
import type { EventRecord } from '../api/status.ts'
import type { NftChain } from '../kernel/port/nftables.ts'
import type { Healed, ObjectKind, ObjectName, Removed } from '../kernel/reconcile/outcome.ts'
import { refOf } from './refusals.ts'

/** One thing that was put right. `by`: who made it necessary, where the kernel told. */
export type Repair = EventRecord & { type: 'Healed' | 'Removed' | 'LetPass'; by: string | undefined }

const NOUNS: Record<ObjectKind, string> = {
  link: 'interface',
  address: 'address',
  sysctl: 'setting',
  neighbour: 'neighbour',
  fdb: 'forwarding entry',
  route: 'route',
  nextHop: 'next hop object',
  shaping: 'bandwidth limit',
  nftTable: 'table',
  nftSet: 'set',
  nftChain: 'chain',
  nftElement: 'element',
}

/** Of whom the kernel does not tell nobody is named: it may have gone with something else. */
export function healedRepair(healed: Healed, by: string | undefined): Repair {
  const { gone, found, is } = healed
  const what = nameOf(healed)
  const change =
    gone === true
      ? `was ${by === undefined ? 'gone' : `deleted by ${by}`}`
      : `was changed${found === undefined || is === undefined || found === is ? '' : ` from ${is} to ${found}`} by ${by ?? 'somebody else'}`
  const again = gone === true && is !== undefined ? `: ${is}` : ''
  const left = found !== undefined && is === undefined ? ` (${found})` : ''
  return {
    ...{ type: 'Healed', object: refOf(healed), reason: 'ChangedByOther', by },
    message: `${what} ${change}${left}; put back${again}`,
  }
}

/** `by` made it. */
export function removedRepair(removed: Removed, by: string | undefined): Repair {
  const found = removed.found === undefined ? '' : ` (${removed.found})`
  return {
    ...{ type: 'Removed', object: refOf(removed), reason: 'Stray', by },
    message: `${nameOf(removed)}${found}, made by ${by ?? 'somebody else'}, is a stray among ours, which nothing here needs; removed`,
  }
}

/** Two rules of ours let packets between pods pass in a chain that drops them; `by` changed it last. */
export function letPassRepair({ family, table, name, base }: NftChain, by: string | undefined): Repair {
  const chain = `${family} ${table} ${name}`
  const drops = base?.policy === 'drop' ? 'has the policy drop' : 'ends with a rule that drops or rejects'
  const who = by === undefined ? 'of another program' : `of another program, last changed by ${by},`
  return {
    ...{ type: 'LetPass', object: { kind: 'NftChain', name: chain }, reason: 'ForeignChainDrops', by },
    message: `chain ${chain} ${who} ${drops}: two rules in it let packets of pods pass`,
  }
}

/** `neighbour 10.0.0.2 on cali1`. */
function nameOf({ kind, key }: ObjectName): string {
  const [interfaceName, ...rest] = key.split(' ')
  if (kind === 'address' || kind === 'neighbour' || kind === 'fdb')
    return `${NOUNS[kind]} ${rest.join(' ')} on ${interfaceName}`
  // `net.ipv4 conf/cali1/proxy_arp`, of an interface whose name may have dots
  if (kind === 'sysctl') return `${NOUNS[kind]} ${key.replace(' ', '/')}`
  return `${NOUNS[kind]} ${key}`
}
