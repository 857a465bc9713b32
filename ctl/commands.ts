// Every command of margayctl. A new one is its row here.
import type { Command } from './command.ts'
import { resourceCommands } from './resources.ts'

export const commands: readonly Command[] = [...resourceCommands]
