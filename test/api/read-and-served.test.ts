// Programs read objects by the schemas of api/calico.ts, and servers take them by the shapes of api/shapes: where both say the same
// fact, they must not differ, or a program would refuse what a server took, or fill in something else.
import test from 'ava'
import * as z from 'zod'
import { type Kind, type KindRow, kinds } from '../../api/kinds.ts'
import { kindProblems } from '../../api/shapes/check.ts'
import { ipPool } from '../../api/shapes/ip-pools.ts'
import type { Shape } from '../../api/shapes/shape.ts'
import { validate } from '../../api/validate.ts'

const SAME = ['default', 'minimum', 'maximum'] as const
/** What zod says of every integer. */
const NO_LIMITS: readonly unknown[] = [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER]

type Told = { differ: string[]; compared: number }

function compare(schema: z.core.JSONSchema.BaseSchema, shape: Shape | undefined, at: string, told: Told): Told {
  if (shape === undefined) {
    told.differ.push(`${at} is in no shape`)
    return told
  }
  const differ = (what: string, read: unknown, served: unknown): void => {
    told.compared++
    if (JSON.stringify(read) !== JSON.stringify(served)) told.differ.push(`${at}: ${what} ${read} and ${served}`)
  }
  for (const what of SAME) {
    const [read, served] = [schema[what], shape[what]]
    if (read !== undefined && served !== undefined && !NO_LIMITS.includes(read)) differ(what, read, served)
  }
  // an empty text may be stored by Calico for a value that is not there
  const values = shape.enum?.filter(value => value !== '')
  if (schema.enum !== undefined && values !== undefined) differ('values', [...schema.enum].sort(), [...values].sort())
  if (shape.properties !== undefined)
    for (const [name, field] of Object.entries(schema.properties ?? {}))
      if (typeof field === 'object') compare(field, shape.properties[name], `${at}.${name}`, told)
  const { items } = schema
  if (typeof items === 'object' && !Array.isArray(items)) compare(items, shape.items, `${at}[]`, told)
  return told
}

test('where the schema that programs read by and the shape that servers take by say the same fact, it is the same', t => {
  const told: Told = { differ: [], compared: 0 }
  for (const kind of Object.keys(kinds) as Kind[]) {
    const { schema, shape }: KindRow = kinds[kind]
    if (shape === undefined) continue
    const { properties = {} } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' })
    compare(properties['spec'] as z.core.JSONSchema.BaseSchema, shape().spec, kind, told)
  }
  t.deepEqual(told.differ, [])
  t.true(told.compared > 15, `only ${told.compared} facts are said in both`)
})

test('a program refuses the size of the blocks of a pool where a server does, and nowhere else', t => {
  const sizes = [undefined, ...Array.from({ length: 129 }, (_, size) => size)]
  let refused = 0
  for (const cidr of ['10.0.0.0/8', '10.0.0.0/26', '10.0.0.0/27', 'fd00::/64', 'fd00::/122', 'fd00::/123'])
    for (const disabled of [false, true])
      for (const blockSize of sizes) {
        const pool = {
          metadata: { name: 'p' },
          spec: { cidr, disabled, ...(blockSize !== undefined && { blockSize }) },
        }
        const isRefused = Array.isArray(validate('IPPool', pool))
        t.is(isRefused, kindProblems(ipPool(), pool).length > 0, JSON.stringify(pool.spec))
        if (isRefused) refused++
      }
  t.true(refused > 500)
})
