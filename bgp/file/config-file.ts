// The YAML file of `margay-bgp`: read, checked as a whole, and turned into the speaker's own values. What it can say
// works or is refused here, with every fault at once. The documentation of every field is DESIGN section 8.
import { parseDocument } from 'yaml'
import type * as z from 'zod'
import { contradictions } from './contradictions.ts'
import { ConfigError, faultLine, schemaFaults, yamlFault } from './faults.ts'
import { peerConfig } from './neighbor-schema.ts'
import { file } from './schema.ts'
import type { ConfigFile } from './types.ts'

/** Reads the text of a configuration file. Throws `ConfigError` with every fault at once. */
export function parseConfigFile(text: string): ConfigFile {
  const {
    listen,
    control,
    kernel,
    nextHops: tracked,
    neighbors,
    networks,
    drain,
    bmp,
    mrt,
    ...speaker
  } = checked(fromYaml(text))
  // without routes in the kernel it is not asked for ways either, unless told so: a reflector need not reach what it passes on
  const nextHops = tracked ?? (kernel === 'none' ? 'none' : { defaultRoute: false })
  const config = {
    speaker,
    listen,
    control,
    kernel,
    nextHops,
    peers: neighbors.map(peerConfig),
    networks,
    drain,
    bmp,
    mrt,
  }
  const faults = contradictions(config)
  if (faults.length > 0) throw new ConfigError(faults.map(faultLine))
  return config
}

function checked(value: unknown): z.infer<typeof file> {
  const result = file.safeParse(value ?? {}, { reportInput: true })
  if (result.success) return result.data
  throw new ConfigError(schemaFaults(result.error.issues).map(faultLine))
}

/** Warnings are faults too: what YAML takes for a tag of its own is left out of the value. */
function fromYaml(text: string): unknown {
  const document = parseDocument(text, { prettyErrors: true })
  const faults = [...document.errors, ...document.warnings]
  if (faults.length > 0) throw new ConfigError(faults.map(yamlFault))
  try {
    return document.toJS()
  } catch (error) {
    if (!(error instanceof ReferenceError)) throw error
    throw new ConfigError(['not YAML: an alias (*) without its anchor; quote a text that begins with *'])
  }
}
