// A margay-controllers that leads and only frees what nodes that are gone have, and how time passes for it and for agents.
import { Chores } from '../../controllers/chores.ts'
import { Collector } from '../../controllers/collector.ts'
import { Nodes } from '../../controllers/nodes.ts'
import type { Settings } from '../../controllers/settings.ts'
import type { Store } from '../../datastore/port.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'

export const SETTINGS: Settings = { graceMs: 60_000, periodMs: 300_000 }

/** A program that leads, over a store that a test may have wrapped. */
export function leader(store: Store, settings: Settings = SETTINGS) {
  const clock = new ManualClock()
  const nodes: Nodes = new Nodes({ store, clock, gone: () => chores.hurry('blocks') })
  const collector = new Collector({
    ...{ store, nodes, clock, log: silentLog, identity: 'c1', answerMs: 60_000 },
    settings: () => settings,
    pools: () => [],
    freed: () => undefined,
    counted: () => undefined,
  })
  const chores: Chores = new Chores([collector], { clock, log: silentLog })
  nodes.start()
  chores.lead(true)
  return { clock, nodes, collector, chores }
}

export async function settled(): Promise<void> {
  for (let turn = 0; turn < 8; turn++) await new Promise(setImmediate)
}

/** In steps of five seconds. */
export async function pass(seconds: number, ...all: readonly { clock: ManualClock }[]): Promise<void> {
  for (let i = 0; i < seconds; i += 5) {
    for (const { clock } of all) clock.advance(5_000)
    await settled()
  }
}
