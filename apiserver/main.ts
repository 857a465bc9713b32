#!/usr/bin/env node
// The program `margay-api`. Exit codes: 0 stopped when asked, 2 wrong usage, 3 the address or the data directory cannot
// be had.
import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { createLog } from '../lib/log.ts'
import { clientPaths, nodeKubeconfig, writeKubeconfig } from './client-files.ts'
import { ownToken, SecretFileError } from './secret-files.ts'
import { checkedAddress, OptionsError, startApiServer } from './server.ts'

type Flags = {
  dataDir: string
  listen: string
  tlsCert?: string
  tlsKey?: string
  tokenFile?: string
  tokenAuthFile?: string
}

const EXIT_USAGE = 2
const EXIT_UNAVAILABLE = 3

const program = new Command('margay-api')
  .description('A Kubernetes-style API server for the resources of Margay, on one SQLite file')
  .option('--data-dir <dir>', 'where the database, the tokens and the kubeconfig lie', '/var/lib/margay/api')
  .option('--listen <address:port>', 'plain HTTP on loopback only; elsewhere TLS is needed', '127.0.0.1:6480')
  .option('--tls-cert <file>', 'certificate chain, PEM')
  .option('--tls-key <file>', 'private key, PEM')
  .option('--token-file <file>', "the administrator's bearer token; default: DATA-DIR/token, made at the first start")
  .option(
    '--token-auth-file <file>',
    'tokens of others, a line each: token,user,uid,"group,group"; default: DATA-DIR/tokens.csv',
  )
  .exitOverride(error => process.exit(error.exitCode === 0 ? 0 : EXIT_USAGE))
  .action(() => serve(program.opts<Flags>()))
program
  .command('node-kubeconfig <node>')
  .description('Print a kubeconfig for the agent of a node; its token writes only what belongs to this node')
  .exitOverride(error => process.exit(error.exitCode === 0 ? 0 : EXIT_USAGE))
  .action((node: string) =>
    ended('', () => void process.stdout.write(nodeKubeconfig(program.opts<Flags>().dataDir, node))),
  )

await program.parseAsync()

async function serve({ dataDir, listen, tlsCert, tlsKey, tokenFile, tokenAuthFile }: Flags): Promise<void> {
  await ended(`cannot listen on ${listen} with data in ${dataDir}: `, async () => {
    if ((tlsCert === undefined) !== (tlsKey === undefined))
      throw new OptionsError('--tls-cert and --tls-key go together: give both')
    const paths = clientPaths(dataDir)
    const tls =
      tlsCert === undefined || tlsKey === undefined ? undefined : { cert: fileOf(tlsCert), key: fileOf(tlsKey) }
    checkedAddress({ listen, tls }) // before a token is written into the data directory
    const token = tokenFile === undefined ? ownToken(paths.token) : fileOf(tokenFile).trim()
    const server = await startApiServer({
      ...{ dataDir, listen, token, log: createLog('margay-api'), usersFile: tokenAuthFile ?? paths.users },
      ...(tls === undefined ? {} : { tls }),
    })
    const { authority } = server
    writeKubeconfig(paths.kubeconfig, { server: reachable(server.secureUrl), user: 'admin', token, authority })
    const places = `data in ${dataDir}, token in ${tokenFile ?? paths.token}, kubeconfig in ${paths.kubeconfig}`
    process.stdout.write(`margay-api ready on ${server.url}, ${places}\n`)
    const stop = (): void => void server.close().then(() => process.exit(0))
    process.once('SIGTERM', stop)
    process.once('SIGINT', stop)
  })
}

/** Ends the program with the words and the code of what goes wrong. */
async function ended(where: string, act: () => void | Promise<void>): Promise<void> {
  try {
    await act()
  } catch (error) {
    const isUsage = error instanceof OptionsError
    const names = isUsage || error instanceof SecretFileError
    process.stderr.write(`margay-api: ${names ? '' : where}${(error as Error).message}\n`)
    process.exit(isUsage ? EXIT_USAGE : EXIT_UNAVAILABLE)
  }
}

/** A server that listens on every address is asked on loopback. */
function reachable(url: string): string {
  return url.replace('://0.0.0.0:', '://127.0.0.1:').replace('://[::]:', '://[::1]:')
}

function fileOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new OptionsError(`cannot read ${path}: ${(error as Error).message}`)
  }
}
