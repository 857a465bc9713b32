// The number tables under the RIB against plain maps.
import test from 'ava'
import fc from 'fast-check'
import { AttributeStore } from '../../../bgp/rib/store/attribute-store.ts'
import { IdQueue } from '../../../bgp/rib/store/id-queue.ts'
import { PREFIX_TABLES } from '../../../bgp/rib/store/prefix-table.ts'
import { addressBytes, cidr } from '../../../lib/ip.ts'

test('prefix ids are those of a map, through thousands of additions and releases', t => {
  for (const [table, family] of [
    [new PREFIX_TABLES.ipv4(), 4],
    [new PREFIX_TABLES.ipv6(), 6],
  ] as const) {
    const ids = new Map<string, number>()
    let random = 1
    const next = (below: number) => {
      random = Math.imul(random, 48271) & 0x7fffffff
      return random % below
    }
    for (let i = 0; i < 15_000; i++) {
      const n = next(6000)
      const text = family === 4 ? `10.${n >> 8}.${n & 255}.0/24` : `2001:db8:${n.toString(16)}::/48`
      const { address, length } = cidr(text)
      const octets = addressBytes(address)
      const id = ids.get(text)
      t.is(table.find(octets, 0, length), id ?? -1)
      if (id === undefined) {
        const made = table.add(octets, 0, length)
        t.is(table.text(made), `${cidr(text).address}/${length}`)
        ids.set(text, made)
      } else if (next(2) === 0) {
        table.release(id)
        ids.delete(text)
      } else t.is(table.add(octets, 0, length), id)
    }
    t.is(table.size, ids.size)
    t.is(new Set(ids.values()).size, ids.size)
  }
})

test('the same address with two lengths is two prefixes, and so are the two default routes', t => {
  const table = new PREFIX_TABLES.ipv4()
  const add = (text: string) => {
    const { address, length } = cidr(text)
    return table.add(addressBytes(address), 0, length)
  }
  t.not(add('10.0.0.0/8'), add('10.0.0.0/16'))
  t.is(table.text(add('0.0.0.0/0')), '0.0.0.0/0')
  const bytes = new Uint8Array(8)
  t.is(table.emit(add('10.1.0.0/16'), bytes, 0), 3)
  t.deepEqual([...bytes.subarray(0, 3)], [16, 10, 1])
})

const bytes = fc.uint8Array({ minLength: 0, maxLength: 40 })

test('equal octets of one owner share an id until the last reference goes', t => {
  const check = fc.property(fc.array(fc.tuple(bytes, fc.nat(2), fc.boolean()), { maxLength: 200 }), steps => {
    const freed: number[] = []
    const store = new AttributeStore(id => freed.push(id))
    const held: { id: number; key: string; octets: Uint8Array }[] = []
    for (const [octets, owner, drop] of steps) {
      if (drop && held.length > 0) {
        const { id, key } = held.shift()!
        freed.length = 0
        store.release(id)
        t.is(freed.length, held.some(other => other.key === key) ? 0 : 1)
        continue
      }
      const key = `${owner} ${octets}`
      const id = store.intern(octets, 0, octets.length, owner)
      const same = held.find(other => other.key === key)
      if (same !== undefined) t.is(id, same.id)
      else t.false(held.some(other => other.id === id))
      held.push({ id, key, octets })
      for (const { id, octets } of held) t.deepEqual(store.view(id), octets)
    }
    t.is(store.size, new Set(held.map(({ key }) => key)).size)
  })
  fc.assert(check, { numRuns: 100 })
})

test('the arena stays near the size of the sets it holds, however many sets came and went', t => {
  const store = new AttributeStore(() => undefined)
  const octets = new Uint8Array(200)
  const view = new DataView(octets.buffer)
  const held: number[] = []
  for (let i = 0; i < 300_000; i++) {
    view.setUint32(0, i)
    held.push(store.intern(octets, 0, 64 + (i % 130), 1))
    if (held.length > 5000) store.release(held.shift()!)
  }
  t.true(store.octets.reserved < 8 * store.octets.live + (4 << 20), `${store.octets.reserved} octets`)
  t.is(store.size, 5000)
})

test('octets that come again after their set was freed are a set again', t => {
  const freed: number[] = []
  const store = new AttributeStore(id => freed.push(id))
  const octets = Uint8Array.of(1, 2, 3)
  for (let round = 1; round <= 3; round++) {
    const id = store.intern(octets, 0, 3, 1)
    t.is(store.size, 1)
    t.is(store.octets.live, 3)
    t.deepEqual(store.view(id), octets)
    store.release(id)
    t.is(freed.length, round)
    t.is(store.size, 0)
    t.is(store.octets.live, 0)
  }
})

test('numbers of sets and prefixes that are gone are used again, so their tables stay as large as what is held', t => {
  const store = new AttributeStore(() => undefined)
  const table = new PREFIX_TABLES.ipv4()
  const octets = new Uint8Array(8)
  const view = new DataView(octets.buffer)
  const held: { n: number; set: number; prefix: number }[] = []
  for (let n = 0; n < 60_000; n++) {
    view.setUint32(0, n << 8)
    held.push({ n, set: store.intern(octets, 0, 8, 1), prefix: table.add(octets, 0, 24) })
    if (held.length <= 900) continue
    const [gone] = held.splice((n * 7919) % held.length, 1)
    store.release(gone!.set)
    table.release(gone!.prefix)
  }
  t.is(store.size, 900)
  t.is(table.size, 900)
  t.true(store.capacity <= 2048 && table.capacity <= 2048, `${store.capacity} sets, ${table.capacity} prefixes`)
  for (const { n, set, prefix } of held) {
    view.setUint32(0, n << 8)
    t.deepEqual(store.view(set), octets)
    t.is(table.find(octets, 0, 24), prefix)
  }
})

test('a queue gives every id once and in order, over many wraps', t => {
  const queue = new IdQueue()
  const wanted: number[] = []
  for (let i = 0; i < 50_000; i++) {
    const id = (i * 7919) % 3001
    if (!queue.has(id)) wanted.push(id)
    queue.push(id)
    if (i % 3 !== 0) t.is(queue.shift(), wanted.shift()!)
    if (queue.size === 0) queue.push(wanted.push(1) && 1)
  }
  while (queue.size > 0) t.is(queue.shift(), wanted.shift()!)
  t.deepEqual(wanted, [])
})
