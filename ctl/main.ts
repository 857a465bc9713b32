#!/usr/bin/env node
// The programs `margayctl` and `kubectl-margay`, which kubectl starts for `kubectl margay ...`; and `kubectl_complete-margay`,
// which it starts for the completion of those words. They end with 0 fine, 1 the
// answer is no, 2 wrong usage, 3 out of reach.
import { basename } from 'node:path'
import { text } from 'node:stream/consumers'
import { run } from './program.ts'

const interrupted = Promise.withResolvers<void>()
process.stdout.on('error', error => {
  if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error
  interrupted.resolve() // whoever read it has enough
})

const called = basename(process.argv[1] ?? '', '.js')
const words = process.argv.slice(2)
/** kubectl asks a program of this name for the words after `kubectl margay`; the last line tells it not to add file names. */
const completes = called === 'kubectl_complete-margay'

process.exitCode = await run(completes ? ['__complete', '--', ...words] : words, {
  name: called.startsWith('kubectl-') ? 'kubectl margay' : 'margayctl',
  out: line => void process.stdout.write(line),
  err: line => void process.stderr.write(line),
  unread: () => process.stdout.writableLength + process.stderr.writableLength,
  input: () => text(process.stdin),
  interrupted: () => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.resolve())
    return interrupted.promise
  },
  inputEnded: () =>
    new Promise(resolve => {
      for (const end of ['end', 'close', 'error']) process.stdin.once(end, () => resolve())
      process.stdin.resume()
      // an input that stays open is no reason to go on
      if ('unref' in process.stdin) process.stdin.unref()
    }),
})
if (completes) process.stdout.write(':4\n')
