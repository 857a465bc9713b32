// The commands on resources of every kind, by kubectl's habits and with calicoctl's words where they have others.
import type { Command } from './command.ts'
import { deleteCommand } from './delete.ts'
import { getCommand } from './get.ts'
import { labelCommand } from './label.ts'
import { writeCommands } from './writes.ts'

export const resourceCommands: readonly Command[] = [getCommand, ...writeCommands, deleteCommand, labelCommand]
