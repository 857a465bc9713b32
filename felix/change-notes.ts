// What changes in the kernel, as the recorder keeps it: what felix wrote, with what made it so, and what others did, with who did it
// where the kernel tells. The echo of an own write is told by the write. Hazards: a reload of a million routes comes through here, so a
// text is made only where it is kept, and who has a netlink port costs reading of /proc: once a second each.
import type { Change } from '../api/changes.ts'
import type { Author, Kernel, KernelEvent } from '../kernel/port/kernel.ts'
import type { NftNews } from '../kernel/port/nftables.ts'
import { ROUTE_TABLE } from '../kernel/port/routes.ts'
import {
  addressKey,
  dstOf,
  fdbKey,
  type NamedRoute,
  neighbourKey,
  nftTableKey,
  routeKeyOf,
  sysctlKey,
} from '../kernel/reconcile/objects.ts'
import type { Outcome, Written } from '../kernel/reconcile/outcome.ts'
import { routeText } from '../kernel/reconcile/route-writes.ts'
import type { Clock } from '../lib/clock.ts'
import type { DesiredState } from './desired.ts'
import { ruleText } from './foreign-rules.ts'
import { tableRole } from './marks.ts'
import { refOf } from './refusals.ts'

/** Takes each change; see `Change`. */
export type NoteChange = (
  type: Change['type'],
  kind: Change['kind'],
  cause: Change['cause'],
  about: Change['about'],
) => void

export type ChangeNotesDeps = {
  kernel: Pick<Kernel, 'authorText'>
  clock: Clock
  note: NoteChange
  ownsInterface: (name: string) => boolean
  nameOf: (ifindex: number) => string | undefined
  /** The rtm_protocol of routes to blocks, own and learned. */
  routeProtocol: number
  wanted: () => DesiredState
}

const LOST = 'the kernel had more to tell than there was room for'
const AUTHOR_MS = 1000
const MOST_AUTHORS = 16
/** Of the parts of a table that a transaction changed. */
const MOST_PARTS = 5

export class ChangeNotes {
  readonly #deps: ChangeNotesDeps
  /** Each with when it was asked for. */
  readonly #authors = new Map<string, { text: string | undefined; atMs: number }>()
  /** How links were told last: the kernel tells them again for things that nobody here asks about. */
  readonly #links = new Map<number, string>()
  /** The same of addresses, which are told again when their lifetimes are renewed. */
  readonly #addresses = new Set<string>()

  constructor(deps: ChangeNotesDeps) {
    this.#deps = deps
  }

  /** Takes what one pass did. */
  applied({ written, healed, removed }: Pick<Outcome, 'written' | 'healed' | 'removed'>): void {
    if (written.length === 0) return
    const isTold = new Set([...healed, ...removed].map(({ kind, key }) => `${kind} ${key}`))
    const wanted = this.#deps.wanted()
    for (const one of written) {
      // its events tell of a link, and a setting that was not read before is written whether it is another one or not
      if (one.kind === 'link' || (one.kind === 'sysctl' && one.change === 'Came')) continue
      // an event tells of it
      if (isTold.size > 0 && isTold.has(`${one.kind} ${one.key}`)) continue
      const { kind } = refOf(one)
      const type = changeOf(one, wanted)
      this.#deps.note(type, kind, this.#causeOf(one), () => {
        const text = type === 'Went' ? undefined : textOf(one, wanted)
        return { name: one.key, ...(text !== undefined && { text }) }
      })
    }
  }

  /** Takes what the kernel tells, once the view of links has it. */
  observe(event: KernelEvent): void {
    switch (event.type) {
      case 'overrun':
        this.#deps.note('Lost', 'Route', 'kernel', () => ({ name: '*', text: LOST }))
        break
      case 'link':
      case 'link-gone':
        this.#link(event)
        break
      case 'address':
      case 'address-gone':
        this.#address(event)
        break
      case 'route':
      case 'route-gone':
        this.#route(event)
        break
      case 'rule':
      case 'rule-gone':
        this.#tell(event, 'Rule', () => [`${event.rule.priority}`, ruleText(event.rule)])
        break
      case 'next-hop':
      case 'next-hop-gone':
        this.#byOthers(event, 'NextHop', () => [`${event.object.id}`, ''])
        break
      case 'neighbour':
      case 'neighbour-gone': {
        const { ifindex, address, mac = '', permanent } = event.neighbour
        // what the kernel learns and forgets by itself is no change
        if (permanent)
          this.#byOthers(event, 'Neighbour', () => [
            neighbourKey({ interfaceName: this.#nameOf(ifindex), address }),
            mac,
          ])
        break
      }
      case 'fdb':
      case 'fdb-gone': {
        const { ifindex, mac, dst } = event.entry
        this.#byOthers(event, 'FdbEntry', () => [fdbKey({ interfaceName: this.#nameOf(ifindex), mac }), dst])
        break
      }
      case 'sysctl':
        this.#setting(event)
    }
  }

  /** Takes a transaction of nftables by somebody else, or that some were missed. */
  observeNftables(news: NftNews | undefined): void {
    const { note, kernel } = this.#deps
    if (news === undefined) note('Lost', 'NftTable', 'kernel', () => ({ name: '*', text: LOST }))
    for (const { parts, isGone, ...table } of news?.tables ?? [])
      note(isGone ? 'Went' : 'Changed', 'NftTable', news?.by === undefined ? 'kernel' : 'foreign', () => {
        const names = [...(parts?.chains ?? []), ...(parts?.sets ?? [])]
        const more = names.length > MOST_PARTS ? ` and ${names.length - MOST_PARTS} more` : ''
        const text = `${names.slice(0, MOST_PARTS).join(', ')}${more}`
        return { name: nftTableKey(table), text: withAuthor(text, news?.by && kernel.authorText(news.by)) }
      })
  }

  #link(event: KernelEvent & { type: 'link' | 'link-gone' }): void {
    const { index, name, up, running, mtu, mac, master } = event.link
    const words = [up ? 'up' : 'down', ...(running ? [] : ['no carrier']), `mtu ${mtu}`]
    if (mac !== undefined) words.push(`mac ${mac}`)
    if (master !== undefined) words.push(`in ${this.#nameOf(master)}`)
    const text = words.join(', ')
    const isSame = this.#links.get(index) === `${name} ${text}`
    if (event.type === 'link') this.#links.set(index, `${name} ${text}`)
    else this.#links.delete(index)
    if (event.type === 'link' && isSame) return
    const type = event.type === 'link-gone' ? 'Went' : event.isNew ? 'Came' : 'Changed'
    const wish = this.#deps.wanted().link.get(name)
    const isOwn = event.by === undefined && event.type === 'link' && up && wish?.kind !== undefined && wish.mtu === mtu
    const cause = isOwn ? 'cluster' : this.#cause(event.by, name)
    this.#deps.note(type, 'Link', cause, () => this.#about(name, text, event.by))
  }

  #address(event: KernelEvent & { type: 'address' | 'address-gone' }): void {
    const { ifindex, ...address } = event.address
    const interfaceName = this.#nameOf(ifindex)
    const key = addressKey({ ...address, interfaceName })
    const isThere = event.type === 'address'
    if (isThere && this.#addresses.has(key)) return
    if (isThere) this.#addresses.add(key)
    else this.#addresses.delete(key)
    if (event.by === undefined && this.#deps.wanted().address.has(key) === isThere) return
    const cause = this.#cause(event.by, interfaceName)
    this.#deps.note(isThere ? 'Came' : 'Went', 'Address', cause, () => this.#about(key, '', event.by))
  }

  #route(event: KernelEvent & { type: 'route' | 'route-gone' }): void {
    const { route, by } = event
    const { ifindex, nextHops, ...way } = route
    const interfaceName = ifindex === undefined ? undefined : this.#nameOf(ifindex)
    const { routeProtocol, ownsInterface, wanted } = this.#deps
    const isOurs = route.protocol === routeProtocol || (interfaceName !== undefined && ownsInterface(interfaceName))
    if (by === undefined && isOurs && (event.type === 'route' || !wanted().route.has(route.dst))) return
    this.#tell(event, 'Route', () => {
      const hops = nextHops?.map(({ ifindex, ...hop }) => ({ ...hop, interfaceName: this.#nameOf(ifindex) }))
      const named = { ...way, ...(interfaceName && { interfaceName }), ...(hops && { nextHops: hops }) }
      const rest = ` proto ${route.protocol}${route.table === ROUTE_TABLE.main ? '' : ` table ${route.table}`}`
      return [routeKeyOf(route), wayText(named, rest)]
    })
  }

  /** What is as it is wanted is the echo of an own write; the settings of a pod's interface are written before felix wants them. */
  #setting({ family, of, name, value, isNew, by }: KernelEvent & { type: 'sysctl' }): void {
    const { note, ownsInterface, wanted } = this.#deps
    const whose = typeof of === 'number' ? this.#deps.nameOf(of) : of
    if (isNew || whose === undefined) return
    const { sysctl } = wanted()
    const key = sysctlKey({ family, path: ['conf', whose, name] })
    const isForward = whose === 'all' && name === 'forwarding'
    const wish = sysctl.get(key) ?? (isForward ? sysctl.get(sysctlKey({ family, path: ['ip_forward'] })) : undefined)
    if (wish === undefined ? ownsInterface(whose) : wish.value === value || wish.withoutFilter === value) return
    // those of all devices follow on ip_forward, and nobody is told who wrote it
    note('Changed', 'Sysctl', this.#cause(by), () => this.#about(key, value, by))
  }

  #byOthers(event: KernelEvent, kind: Change['kind'], about: () => [name: string, text: string]): void {
    if (event.by !== undefined) this.#tell(event, kind, about)
  }

  #tell({ type, by }: KernelEvent, kind: Change['kind'], about: () => [name: string, text: string]): void {
    this.#deps.note(type.endsWith('-gone') ? 'Went' : 'Came', kind, this.#cause(by), () => this.#about(...about(), by))
  }

  #nameOf(ifindex: number): string {
    return this.#deps.nameOf(ifindex) ?? `${ifindex}`
  }

  /** What happens to the interface of a pod without a word who did it is of the pod. */
  #cause(by: Author | undefined, interfaceName?: string): Change['cause'] {
    if (by !== undefined) return 'foreign'
    return interfaceName !== undefined && this.#deps.ownsInterface(interfaceName) ? 'pod' : 'kernel'
  }

  #about(name: string, text: string, by: Author | undefined): { name: string; text: string } {
    return { name, text: withAuthor(text, by && this.#who(by)) }
  }

  #who(by: Author): string | undefined {
    if ('pid' in by) return this.#deps.kernel.authorText(by)
    const nowMs = this.#deps.clock.monotonicMs()
    const key = `${by.port}`
    const known = this.#authors.get(key)
    if (known !== undefined && nowMs - known.atMs < AUTHOR_MS) return known.text
    const text = this.#deps.kernel.authorText(by)
    this.#authors.delete(key)
    this.#authors.set(key, { text, atMs: nowMs })
    if (this.#authors.size > MOST_AUTHORS) this.#authors.delete(this.#authors.keys().next().value!)
    return text
  }

  #causeOf({ kind, key, interfaceName, origin }: Written): Change['cause'] {
    // what leads nowhere else is no way that was learned
    if (origin !== undefined && interfaceName !== 'lo') return origin
    if (kind.startsWith('nft') && tableRole(tableOf(key)) === 'policy') return 'policy'
    const isOfPod = interfaceName !== undefined && this.#deps.ownsInterface(interfaceName)
    if (isOfPod || kind === 'shaping') return 'pod'
    return kind === 'neighbour' || kind === 'fdb' ? 'learned' : 'cluster'
  }
}

/** Of the parts of tables that look after themselves nothing tells more. */
function changeOf({ kind, key, change = 'Changed' }: Written, { nftElement }: DesiredState): Change['type'] {
  if (kind !== 'nftElement' || tableRole(tableOf(key)) === 'policy' || tableRole(tableOf(key)) === 'qos') return change
  return nftElement.has(key) ? 'Came' : 'Went'
}

/** Of `inet margay-policy cut`. */
function tableOf(key: string): string {
  return key.split(' ')[1] ?? ''
}

function wayText(route: NamedRoute, rest: string): string {
  return routeText({ ...route, dst: '' }, rest)
    .trim()
    .replace(/ {2,}/g, ' ')
}

function withAuthor(text: string, who: string | undefined): string {
  return [text, who && `by ${who}`].filter(Boolean).join('; ')
}

/** How what was written is now. */
function textOf({ kind, key, members }: Written, wanted: DesiredState): string | undefined {
  switch (kind) {
    case 'route': {
      const route = wanted.route.get(dstOf(key)) ?? wanted.localRoute.get(dstOf(key))
      return route && wayText(route, ` proto ${route.protocol}`)
    }
    case 'neighbour':
      return wanted.neighbour.get(key)?.mac
    case 'fdb':
      return wanted.fdb.get(key)?.dst
    case 'sysctl':
      return wanted.sysctl.get(key)?.value
    default:
      return members && `+${members.came} -${members.went} members`
  }
}
