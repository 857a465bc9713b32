// Log levels as Calico's configuration writes them, and the rooms of an agent whose levels can be set one by one.
import type { LogLevel } from '../lib/log.ts'

/** Every room of margay-node that writes lines, and what they are about. */
export const LOG_ROOMS = {
  agent: 'the node as a whole: its address, its Node object, readiness, metrics and Events',
  bgp: 'sessions, messages and routes',
  cni: 'requests of the runtime for pods',
  datastore: 'the API server: watches and connections',
  felix: 'the kernel: routes, tunnels, rules and settings',
  ipam: 'blocks and addresses',
} as const

export type LogRoom = keyof typeof LOG_ROOMS

export const LOG_LEVELS = [
  'trace',
  'debug',
  'info',
  'warn',
  'error',
  'fatal',
  'silent',
] as const satisfies readonly LogLevel[]

const SEVERITIES: Readonly<Record<string, LogLevel>> = {
  ...{ trace: 'trace', debug: 'debug', info: 'info', warning: 'warn', error: 'error', fatal: 'fatal' },
  ...{ panic: 'fatal', none: 'silent' },
}

/** The level that a `logSeverityScreen` says, in any case of letters; undefined where it says none. */
export function levelOfSeverity(text: string | undefined): LogLevel | undefined {
  return text === undefined ? undefined : SEVERITIES[text.toLowerCase()]
}

/**
 * The same where a schema fills in Info: what a person wrote cannot be told from the default, so Info says nothing, and the
 * level is that of the rest of the program.
 */
export function levelBesideDefault(text: string | undefined): LogLevel | undefined {
  const level = levelOfSeverity(text)
  return level === 'info' ? undefined : level
}
