// One logger shape for every room: pino, JSON lines on stderr, secrets redacted before they are formatted.
import { type DestinationStream, type Logger, pino } from 'pino'

export type Log = Logger

/** Keys whose values never reach a log, at the top of a record or one or two objects down. */
const SECRETS = ['password', 'token', 'secret', 'key', 'authorization']

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent'

/** A logger for one program. `destination` is for tests; by default lines go to stderr, unbuffered. */
export function createLog(name: string, level: LogLevel = 'info', destination?: DestinationStream): Log {
  const paths = SECRETS.flatMap(key => [key, `*.${key}`, `*.*.${key}`])
  const options = { name, level, redact: { paths, censor: '[redacted]' }, timestamp: pino.stdTimeFunctions.isoTime }
  return pino(options, destination ?? pino.destination({ dest: 2, sync: true }))
}

/** Says nothing. For tests and for libraries that were given no logger. */
export const silentLog: Log = pino({ level: 'silent' })
