// Every command of margayctl. A new one is its row here.
import { bgpCommands } from './bgp.ts'
import type { Command } from './command.ts'
import { ipamCommands } from './ipam.ts'
import { nodeCommands } from './node.ts'
import { resourceCommands } from './resources.ts'
import { versionCommand } from './version.ts'

export const commands: readonly Command[] = [
  ...resourceCommands,
  ...nodeCommands,
  ...ipamCommands,
  ...bgpCommands,
  versionCommand,
]
