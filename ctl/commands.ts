// Every command of margayctl. A new one is its row here.
import { bgpCommands } from './bgp.ts'
import { checksystemCommand } from './checksystem.ts'
import type { Command } from './command.ts'
import { completionCommands } from './completion.ts'
import { datastoreCommands } from './datastore.ts'
import { clusterCommands } from './diags.ts'
import { eventCommands } from './events.ts'
import { explainCommands } from './explain.ts'
import { flowCommands } from './flows.ts'
import { ipamCommands } from './ipam.ts'
import { nodeCommands } from './node.ts'
import { nodeDiagsCommands } from './node-diags.ts'
import { resourceCommands } from './resources.ts'
import { uiCommands } from './ui.ts'
import { validateCommand } from './validate.ts'
import { versionCommand } from './version.ts'

export const commands: readonly Command[] = [
  ...resourceCommands,
  validateCommand,
  ...nodeCommands,
  ...nodeDiagsCommands,
  ...explainCommands,
  ...eventCommands,
  ...flowCommands,
  ...uiCommands,
  checksystemCommand,
  ...ipamCommands,
  ...bgpCommands,
  ...clusterCommands,
  ...datastoreCommands,
  ...completionCommands(() => commands),
  versionCommand,
]
