// Next hop objects: routes with the same next hops go by one group of the kernel, so that a next hop that is lost, or comes back, is
// one message for all of them. What a group is, is the list of next hops that its routes want; what it has are those of them whose
// links carry packets. Where the kernel has no objects, or none can be had, routes have their next hops themselves. Groups of another
// type than is asked for get new ids, since the kernel changes none in place: their routes are written by those before they go.
// Over 400 lines: what routes want, ids and objects are one state, which whatever a link, a route or the kernel tells may change.
// Hazards: the kernel removes objects with the carrier of their link and tells nobody, so a change of a link makes all be read; it
// removes the routes of a group with it, so no group goes before the last route that was seen to go by it.
import { isDeepStrictEqual } from 'node:util'
import { ERRNO, type KernelError } from '../port/error.ts'
import type { KernelEvent } from '../port/kernel.ts'
import type { GroupMember, NextHopChange, NextHopObject, NextHopPort, Resilient } from '../port/next-hops.ts'
import { GroupType } from './group-type.ts'
import type { LinkView } from './link-view.ts'
import { NextHopIds } from './next-hop-ids.ts'
import { contentOf, hopsOf, keyOf, type NextHops, textOf } from './next-hop-lists.ts'
import type { NamedNextHop, RouteWay } from './objects.ts'
import { failureOf, type Refusal } from './outcome.ts'
import type { Marks } from './ownership.ts'
import { RoutesByGroup } from './routes-by-group.ts'

/** `isInline`: some of its routes were written with their next hops, for want of a group. */
type List = { key: string; hops: NextHops; users: number; id?: number; isInline?: true }
type Routes = { seen(): ReadonlyMap<string, RouteWay>; wanted(): ReadonlyMap<string, RouteWay> }

/** A link that goes is told, and what leads over it is looked at again then. */
const OF_LINK: readonly number[] = [ERRNO.ENETDOWN, ERRNO.ENODEV]

export class NextHopGroups {
  readonly #kernel: NextHopPort
  readonly #links: LinkView
  readonly #routes: Routes
  readonly #protocol: number
  readonly #ids: NextHopIds
  readonly #type: GroupType
  readonly #going: RoutesByGroup
  readonly #lists = new Map<string, List>()
  /** Of the array that stands for a list in wanted routes. */
  readonly #byHops = new Map<NextHops, List>()
  /** What each group of ours is for. */
  readonly #listOf = new Map<number, List>()
  /** Objects of ours in the kernel. */
  #seen = new Map<number, NextHopObject>()
  /** Ids of our range that others have. */
  #taken = new Set<number>()
  /** Whether the interfaces of next hops carried packets when objects were last written. */
  readonly #carried = new Map<string, boolean>()
  /** Routes that were seen to go by a group and are wanted otherwise since the last `apply`, by the group. */
  readonly #changed = new Map<number, Set<string>>()
  #isAbsent: boolean
  #isStale = true
  #isDirty = true

  constructor(
    kernel: NextHopPort,
    links: LinkView,
    marks: Pick<Marks, 'table' | 'protocol'>,
    routes: Routes,
    resilient: Resilient | undefined,
  ) {
    this.#kernel = kernel
    this.#links = links
    this.#routes = routes
    this.#protocol = marks.protocol
    this.#ids = new NextHopIds(marks)
    this.#isAbsent = !this.#ids.exist
    this.#type = new GroupType(resilient)
    this.#going = new RoutesByGroup(routes.seen)
  }

  /** How groups keep their flows where they are, from the next `apply` on; returns whether one is needed. */
  setResilient(resilient: Resilient | undefined): boolean {
    if (!this.#type.ask(resilient)) return false
    this.#isDirty = true
    return !this.#isAbsent
  }

  /** What the kernel said of resilient groups, where they are asked for and it has none: groups are plain ones then. */
  get lacking(): string | undefined {
    const isWanted = this.#type.fields.resilient !== undefined
    return this.#isAbsent && isWanted ? 'it has no next hop objects, or none for this table' : this.#type.lacking
  }

  /** The array that stands for these next hops in a wanted route, which `release` gives back. */
  take(hops: NextHops): NextHops {
    let list = this.#byHops.get(hops)
    if (list === undefined) {
      const key = keyOf(hops)
      list = this.#lists.get(key) ?? { key, hops, users: 0 }
      this.#lists.set(key, list)
      this.#byHops.set(list.hops, list)
    }
    if (list.users++ === 0) this.#isDirty = true
    return list.hops
  }

  release(hops: NextHops | undefined): void {
    const list = hops && this.#byHops.get(hops)
    if (list === undefined || --list.users > 0) return
    this.#isDirty = true
    if (list.id === undefined) this.#forget(list)
  }

  /** The route of this key was seen to go by this object, and is wanted otherwise now. */
  left(id: number, key: string): void {
    const keys = this.#changed.get(id)
    if (keys !== undefined) keys.add(key)
    else if (this.#listOf.has(id)) this.#changed.set(id, new Set([key]))
  }

  /** The group that a route is to be written with; undefined: with its next hops. */
  idToWrite(hops: NextHops): number | undefined {
    const id = this.idOf(hops)
    const list = this.#byHops.get(hops)
    if (id === undefined && list !== undefined) list.isInline = true
    return id
  }

  /** The group that a route with these next hops goes by; undefined: it has them itself. */
  idOf(hops: NextHops): number | undefined {
    const id = this.#byHops.get(hops)?.id
    return id !== undefined && this.#seen.has(id) ? id : undefined
  }

  /** Whether a route that goes by this object goes where the wanted one should. */
  leads(id: number, wanted: RouteWay): boolean {
    const list = this.#listOf.get(id)
    if (list === undefined || !this.#seen.has(id)) return false
    if (wanted.nextHops !== undefined) return list.hops === wanted.nextHops
    const [only, other] = list.hops
    return other === undefined && textOf(only!) === textOf(wanted as NamedNextHop)
  }

  /** Whether the next `apply` has to read the kernel. */
  get isStale(): boolean {
    return this.#isStale && !this.#isAbsent
  }

  invalidate(): void {
    this.#isStale = true
  }

  /** What leads over an interface may have changed, or gone with the link that had this name. */
  invalidateInterface(name: string): void {
    if (this.#carried.has(name)) this.#isStale = true
  }

  /** Takes what the kernel tells of links, once the view has them, and of objects; returns whether that needs an `apply`. */
  observe(event: KernelEvent): boolean {
    switch (event.type) {
      case 'link':
      case 'link-gone': {
        const { name, up, running } = event.link
        const before = this.#carried.get(name)
        const now = event.type === 'link' && up && running
        if (before !== undefined && before !== now) this.#isStale = true
        break
      }
      case 'next-hop': {
        const { object } = event
        const [seen, isOurs] = [this.#seen.get(object.id), this.#ids.owns(object)]
        if (!isOurs && this.#ids.has(object.id)) this.#taken.add(object.id)
        // what was ours may be another program's now
        this.#isStale ||= isOurs ? !isDeepStrictEqual(seen, object) : seen !== undefined
        break
      }
      case 'next-hop-gone':
        if (this.#seen.has(event.object.id)) this.#isStale = true
        break
    }
    return this.isStale
  }

  /**
   * Makes the groups of what routes want. Before routes are written: `changed` are those whose way is judged anew, `lost` the groups that
   * went with their routes.
   */
  async apply(): Promise<{ refused: Refusal[]; changed: readonly string[]; lost: ReadonlySet<number> }> {
    const refused: Refusal[] = []
    if (this.#isAbsent || !(this.isStale || this.#isDirty || this.#changed.size > 0))
      return { refused, changed: [], lost: new Set() }
    const lost = this.isStale ? await this.#read() : new Set<number>()
    const changed = [...this.#follow(), ...this.#retype()]
    if (this.#isAbsent) return { refused, changed, lost }
    this.#isDirty = false
    const made = new Map<string, number>()
    for (const { id, hop } of this.#seen.values()) if (hop !== undefined) made.set(this.#named(hop), id)
    this.#identify(made)
    const hops: NextHopChange[] = []
    const given = new Set<number>()
    let isFull = false
    this.#carried.clear()
    for (const { hops: all } of this.#listOf.values())
      for (const hop of all) {
        const carries = this.#carries(hop)
        this.#carried.set(hop.interfaceName, carries)
        const text = textOf({ ...hop, weight: 1 })
        if (!carries || isFull || made.has(text)) continue
        const id = this.#free('hop', given)
        isFull = id === undefined
        if (id === undefined) continue
        given.add(id)
        made.set(text, id)
        hops.push({ verb: 'add', object: this.#hopObject(id, hop) })
      }
    await this.#write(hops, refused)
    let ofGroups: Refusal[] = []
    await this.#write(this.#groups(made), ofGroups)
    if (this.#type.giveUp(ofGroups, this.#seen)) {
      const plain: Refusal[] = []
      const groups = this.#groups(made)
      await this.#write(groups, plain)
      if (plain.length < groups.length) ofGroups = plain
      else this.#type.retract()
    }
    for (const refusal of ofGroups) refused.push(refusal)
    for (const key of this.#inline()) changed.push(key)
    return { refused, changed, lost }
  }

  /** What groups lack; `made`: the ids of next hops. */
  #groups(made: ReadonlyMap<string, number>): NextHopChange[] {
    const changes: NextHopChange[] = []
    for (const [id, { hops }] of this.#listOf) {
      const group = this.#members(hops, made)
      if (group.length === 0) continue
      const object: NextHopObject = { id, protocol: this.#protocol, group, ...this.#type.fields }
      const before = this.#seen.get(id)
      if (!isDeepStrictEqual(before, object)) changes.push({ verb: before === undefined ? 'add' : 'replace', object })
    }
    return changes
  }

  /** Lists whose groups are of another type give these up, and get others. Returns the routes that are to be compared again. */
  #retype(): string[] {
    const left = new Set<number>()
    for (const [id, list] of this.#listOf) {
      const group = this.#seen.get(id)
      if (group === undefined || this.#type.isOf(group)) continue
      left.add(id)
      this.#forget(list)
    }
    return this.#going.keysOf(left)
  }

  /** The routes that have the next hops of a group which has come to be. */
  #inline(): string[] {
    const lists = [...this.#lists.values()].filter(list => list.isInline && this.idOf(list.hops) !== undefined)
    if (lists.length === 0) return []
    for (const list of lists) delete list.isInline
    const arrays = new Set(lists.map(({ hops }) => hops))
    const isOfThem = ({ nextHops }: RouteWay) => nextHops !== undefined && arrays.has(nextHops)
    return [...this.#routes.wanted()].filter(([, route]) => isOfThem(route)).map(([key]) => key)
  }

  /** Removes what nobody wants and no route goes by. After routes were written. */
  async clean(): Promise<void> {
    if (this.#isAbsent) return
    const idle = new Set<number>()
    for (const [id, { group }] of this.#seen)
      if (group !== undefined && (this.#listOf.get(id)?.users ?? 0) === 0 && !this.#going.has(id)) idle.add(id)
    for (const list of [...this.#lists.values()]) if (list.users === 0 && !this.#going.has(list.id)) this.#forget(list)
    const kept = new Set<number>()
    for (const [id, { group = [] }] of this.#seen) if (!idle.has(id)) for (const member of group) kept.add(member.id)
    for (const [id, { hop }] of this.#seen) if (hop !== undefined && !kept.has(id)) idle.add(id)
    const objects = [...idle].map(id => this.#seen.get(id)!)
    await this.#write(
      objects.map(object => ({ verb: 'delete', object })),
      [],
    )
  }

  async #read(): Promise<Set<number>> {
    this.#isStale = false
    this.#isDirty = true
    let all: NextHopObject[] | undefined
    try {
      all = await this.#kernel.nextHopObjects()
    } catch (error) {
      this.#isStale = true
      throw error
    }
    if (all === undefined) this.#isAbsent = true
    const before = this.#seen
    this.#seen = new Map()
    this.#taken = new Set()
    for (const object of all ?? [])
      if (this.#ids.owns(object)) this.#seen.set(object.id, object)
      else if (this.#ids.has(object.id)) this.#taken.add(object.id)
    // whoever has the id of a group now has it: its routes get another
    for (const id of this.#taken) if (this.#listOf.has(id)) this.#forget(this.#listOf.get(id)!)
    return new Set(
      [...before].filter(([id, { group }]) => group !== undefined && !this.#seen.has(id)).map(([id]) => id),
    )
  }

  /** Groups whose routes all want the same other next hops become groups of those. Returns the routes that are to be compared again. */
  #follow(): string[] {
    const changed: string[] = []
    for (const [id, keys] of this.#changed) {
      const target = this.#target(id, keys)
      if (target === undefined) continue
      this.#become(id, target)
      for (const key of keys) changed.push(key)
    }
    this.#changed.clear()
    return changed
  }

  #target(id: number, keys: ReadonlySet<string>): NextHops | undefined {
    const wanted = this.#routes.wanted()
    let [target, last]: [target?: NextHops, last?: RouteWay] = []
    for (const key of keys) {
      const route = wanted.get(key)
      // of a million keys nearly all are alike
      if (route !== undefined && route === last) continue
      last = route
      const hops = route && hopsOf(route)
      if (hops === undefined || (target && hops !== target && keyOf(hops) !== keyOf(target))) return undefined
      target = hops
    }
    // a group cannot become one that has no next hop now: it would go on leading to what it has
    if (!target?.some(hop => this.#carries(hop)) || this.#lists.get(keyOf(target))?.id !== undefined) return undefined
    for (const [key, { nextHopId }] of this.#routes.seen()) if (nextHopId === id && !keys.has(key)) return undefined
    return target
  }

  #become(id: number, hops: NextHops): void {
    const before = this.#listOf.get(id)
    if (before !== undefined) {
      delete before.id
      if (before.users === 0) this.#forget(before)
    }
    const key = keyOf(hops)
    const list = this.#lists.get(key) ?? { key, hops, users: 0 }
    this.#lists.set(key, list)
    this.#byHops.set(list.hops, list)
    list.id = id
    this.#listOf.set(id, list)
    this.#isDirty = true
  }

  /** Ids for lists that have none: those of groups of an earlier run with the same content, or free ones. `made`: the ids of next hops. */
  #identify(made: ReadonlyMap<string, number>): void {
    const lacking = [...this.#lists.values()].filter(
      list => list.id === undefined && list.users > 0 && !list.hops.some(hop => hop.gateway === undefined),
    )
    if (lacking.length === 0) return
    const earlier = new Map<string, number>()
    for (const object of this.#seen.values())
      if (object.group !== undefined && !this.#listOf.has(object.id) && this.#type.isOf(object))
        earlier.set(contentOf(object.group), object.id)
    for (const list of lacking) {
      const content = contentOf(this.#members(list.hops, made))
      const id = earlier.get(content) ?? this.#free('group')
      // there is none for the next one either
      if (id === undefined) return
      earlier.delete(content)
      list.id = id
      this.#listOf.set(id, list)
    }
  }

  #members(hops: NextHops, ids: ReadonlyMap<string, number>): GroupMember[] {
    const members: GroupMember[] = []
    for (const { weight = 1, ...hop } of hops) {
      const id = this.#carries(hop) ? ids.get(textOf(hop)) : undefined
      if (id !== undefined && this.#seen.has(id)) members.push(weight === 1 ? { id } : { id, weight })
    }
    return members.sort((a, b) => a.id - b.id)
  }

  #hopObject(id: number, { gateway, interfaceName, onlink }: NamedNextHop): NextHopObject {
    const ifindex = this.#links.byName(interfaceName)!.index
    const hop = { gateway: gateway!, ifindex, ...(onlink && { onlink }) }
    return { id, protocol: this.#protocol, hop }
  }

  async #write(changes: readonly NextHopChange[], refused: Refusal[]): Promise<void> {
    if (changes.length === 0) return
    let answers: (KernelError | undefined)[]
    try {
      answers = await this.#kernel.changeNextHopObjects(changes)
    } catch (error) {
      this.#isStale = true
      throw error
    }
    for (const [i, { verb, object }] of changes.entries()) {
      const error = answers[i]
      if (error === undefined) {
        if (verb === 'delete') this.#seen.delete(object.id)
        else this.#seen.set(object.id, object)
        continue
      }
      // somebody else's change came between: what is there is read first
      this.#isStale = true
      const key = object.hop === undefined ? `group ${object.id}` : this.#named(object.hop)
      if (!OF_LINK.includes(error.errno)) refused.push({ kind: 'nextHop', key, ...failureOf(error, key) })
    }
  }

  #carries({ interfaceName }: Pick<NamedNextHop, 'interfaceName'>): boolean {
    const link = this.#links.byName(interfaceName)
    return link?.up === true && link.running
  }

  #named({ ifindex, ...hop }: NonNullable<NextHopObject['hop']>): string {
    return textOf({ ...hop, interfaceName: this.#links.nameOf(ifindex) ?? '' })
  }

  #forget(list: List): void {
    this.#lists.delete(list.key)
    this.#byHops.delete(list.hops)
    if (list.id !== undefined) this.#listOf.delete(list.id)
    if (list.users === 0) return
    // its routes are still wanted
    delete list.id
    this.#lists.set(list.key, list)
    this.#byHops.set(list.hops, list)
  }

  /** `given`: ids of what is yet to be written. */
  #free(sort: 'group' | 'hop', given?: ReadonlySet<number>): number | undefined {
    const isUsed = (id: number) => this.#seen.has(id) || this.#taken.has(id) || this.#listOf.has(id)
    return this.#ids.free(sort, id => isUsed(id) || given?.has(id) === true)
  }

  /** Whether an object is a group of ours, of this run or an earlier one. */
  isOwn(id: number): boolean {
    return this.#seen.has(id)
  }
}
