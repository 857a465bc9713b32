// The program `margay-api`. Exit codes: 0 stopped when asked, 2 wrong usage, 3 the address or the data directory cannot
// be had.
import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { createLog } from '../lib/log.ts'
import { OptionsError, startApiServer } from './server.ts'

type Flags = { dataDir: string; listen: string; tlsCert?: string; tlsKey?: string; tokenFile?: string }

const EXIT_USAGE = 2
const EXIT_UNAVAILABLE = 3

const program = new Command('margay-api')
  .description('A Kubernetes-style API server for the resources of Margay, on one SQLite file')
  .option('--data-dir <dir>', 'where the database lies', '/var/lib/margay/api')
  .option(
    '--listen <address:port>',
    'plain HTTP on loopback only; elsewhere TLS and a token are needed',
    '127.0.0.1:6480',
  )
  .option('--tls-cert <file>', 'certificate chain, PEM')
  .option('--tls-key <file>', 'private key, PEM')
  .option('--token-file <file>', 'file with the bearer token that clients must show')
  .exitOverride(error => process.exit(error.exitCode === 0 ? 0 : EXIT_USAGE))

program.parse()
await main(program.opts<Flags>())

async function main({ dataDir, listen, tlsCert, tlsKey, tokenFile }: Flags): Promise<void> {
  try {
    if ((tlsCert === undefined) !== (tlsKey === undefined))
      throw new OptionsError('--tls-cert and --tls-key go together: give both')
    const server = await startApiServer({
      dataDir,
      listen,
      log: createLog('margay-api'),
      ...(tlsCert === undefined || tlsKey === undefined ? {} : { tls: { cert: fileOf(tlsCert), key: fileOf(tlsKey) } }),
      ...(tokenFile === undefined ? {} : { token: fileOf(tokenFile).trim() }),
    })
    process.stdout.write(`margay-api ready on ${server.url}, data in ${dataDir}\n`)
    const stop = (): void => void server.close().then(() => process.exit(0))
    process.once('SIGTERM', stop)
    process.once('SIGINT', stop)
  } catch (error) {
    const usage = error instanceof OptionsError
    const where = usage ? '' : `cannot listen on ${listen} with data in ${dataDir}: `
    process.stderr.write(`margay-api: ${where}${(error as Error).message}\n`)
    process.exit(usage ? EXIT_USAGE : EXIT_UNAVAILABLE)
  }
}

function fileOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new OptionsError(`cannot read ${path}: ${(error as Error).message}`)
  }
}
