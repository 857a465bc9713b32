// What a schema of zod says about the fields of an object, below defaults and transformations.
import type * as z from 'zod'

/** The fields of an object's schema; undefined when it is none, or takes any field by nature. */
export function shapeOf(schema: z.core.$ZodType | undefined): Readonly<Record<string, z.core.$ZodType>> | undefined {
  const def = innermost(schema)
  return def?.type === 'object' ? def.shape : undefined
}

/** The definition below defaults, options and transformations. */
function innermost(schema: z.core.$ZodType | undefined): z.core.$ZodTypes['_zod']['def'] | undefined {
  const { def } = (schema as z.core.$ZodTypes | undefined)?._zod ?? {}
  switch (def?.type) {
    case 'pipe':
      return innermost(def.in)
    case 'default':
    case 'optional':
      return innermost(def.innerType)
    default:
      return def
  }
}
