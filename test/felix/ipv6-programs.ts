// Programs in the namespaces of hosts and pods whose packets are of IPv6.
import { execFile, spawn } from 'node:child_process'
import { promisify } from 'node:util'
import { systemProgram } from '../../lib/system-program.ts'
import { openPort } from './ports.ts'

const run = promisify(execFile)

type In = { name: string }

/** Rejects where the command fails. */
export function ip({ name }: In, ...args: string[]): Promise<{ stdout: string }> {
  return run(systemProgram('ip'), ['-n', name, ...args])
}

/** Waits long for each answer; rejects where one is missing. Resolves with what ping says. */
export async function ping({ name }: In, address: string, count: number, more: string[] = []): Promise<string> {
  const args = ['-6', '-q', '-i', '0.05', '-c', `${count}`, '-W', '20', ...more, address]
  return (await run(systemProgram('ip'), ['netns', 'exec', name, systemProgram('ping'), ...args])).stdout
}

/** Sends 2^20 octets over TCP from one namespace to an address of another one, which answers how many came. */
export async function megabyteOfTcp(from: In, to: In, address: string): Promise<string> {
  const server = spawnNode(
    to,
    `require('net').createServer(c=>{let n=0;c.on('data',d=>n+=d.length);c.on('end',()=>c.end(String(n)))}).listen(7000,'::',()=>console.log('listening'))`,
  )
  await new Promise(resolve => server.stdout.once('data', resolve))
  const client = spawnNode(
    from,
    `const c=require('net').connect(7000,'${address}');c.end(Buffer.alloc(1<<20));c.pipe(process.stdout)`,
  )
  let said = ''
  client.stdout.on('data', chunk => (said += chunk))
  await new Promise(resolve => client.once('exit', resolve))
  server.kill('SIGKILL')
  return said
}

function spawnNode({ name }: In, program: string) {
  const args = ['netns', 'exec', name, process.execPath, '-e', program]
  return spawn(systemProgram('ip'), args, { stdio: ['ignore', 'pipe', 'inherit'] })
}

const PORT = 7001

/**
 * The source under which a datagram of one namespace comes to `at`, an address of another one, and which gets the answer.
 * `source`: what its program binds; `to`: what it sends to, where that is translated on the way.
 */
export async function sourceOf(
  from: In,
  { to, at, source = '::' }: { to: In; at: string; source?: string },
  toward = at,
): Promise<string | undefined> {
  using far = openPort(to, at, PORT)
  using near = openPort(from, source)
  near.send(toward, PORT)
  const heard = await far.heard()
  if (heard === undefined) return undefined
  far.send(heard.address, heard.port)
  return (await near.heard()) === undefined ? `${heard.address}, which got no answer` : heard.address
}
