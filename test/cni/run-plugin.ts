// Runs the installed plugin with any environment, input and descriptors, beside an agent that says what a test wants.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { compiledProgram } from '../../cni/compile.ts'
import { installPlugin } from '../../cni/install.ts'
import { ARM64_WANTED, writeEmulated } from './emulator.ts'

export type Ended = { code: number | null; stdout: Buffer; stderr: string }
export type Asked = { env: Record<string, string>; stdin: string }

type RunOptions = {
  input?: string | Buffer
  env?: Record<string, string>
  argv0?: string
}

export const ENV = {
  CNI_COMMAND: 'ADD',
  CNI_CONTAINERID: 'c1',
  CNI_NETNS: '/run/netns/x',
  CNI_IFNAME: 'eth0',
  CNI_PATH: '/opt/cni/bin',
}

let arm64Program: Buffer | undefined

/** A folder with the installed plugin, for one test: the machine's own, or that of arm64 when that is tested. */
export function installedPlugin(t: ExecutionContext): { folder: string; plugin: string; socket: string } {
  const folder = mkdtempSync(join(tmpdir(), 'margay-plugin-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const socket = join(folder, 'agent.sock')
  const binDir = join(folder, 'bin')
  if (!ARM64_WANTED) return { folder, socket, plugin: installPlugin({ binDir, socket }).plugin }
  arm64Program ??= compiledProgram('arm64')
  mkdirSync(binDir)
  writeFileSync(join(folder, 'margay-arm64'), arm64Program, { mode: 0o755 })
  writeEmulated(join(binDir, 'margay'), join(folder, 'margay-arm64'))
  return { folder, socket, plugin: join(binDir, 'margay') }
}

/** Executes the plugin and waits for its end. The environment is `env` alone. */
export async function runPlugin(plugin: string, { input = '', env = ENV, argv0 }: RunOptions): Promise<Ended> {
  const child = spawn(plugin, { env, argv0, stdio: 'pipe' })
  const out: Buffer[] = []
  let stderr = ''
  child.stdout.on('data', chunk => out.push(chunk))
  child.stderr.on('data', chunk => {
    stderr += chunk
  })
  child.stdin.on('error', () => {}) // the plugin ends before it has read everything
  child.stdin.end(input)
  const [code] = await once(child, 'close')
  return { code, stdout: Buffer.concat(out), stderr }
}

/** An agent that calls `answer` with each request once it is complete. Listens when the promise resolves. */
export async function anAgent(
  t: ExecutionContext,
  path: string,
  answer: (socket: Socket, asked: Asked) => void,
): Promise<void> {
  const server = createServer(socket => {
    let request = Buffer.alloc(0)
    socket.on('error', () => {}) // the plugin gave up
    socket.on('data', chunk => {
      request = Buffer.concat([request, chunk])
      const head = request.indexOf('\r\n\r\n')
      if (head < 0) return
      const length = Number(/^Content-Length: (\d+)$/m.exec(request.toString('latin1', 0, head))?.[1])
      if (request.length < head + 4 + length) return
      if (request.length > head + 4 + length) throw new Error('the request is longer than its Content-Length')
      answer(socket, JSON.parse(request.toString('utf8', head + 4)))
    })
  })
  server.listen(path)
  await once(server, 'listening')
  t.teardown(() => server.close())
}

/** The agent's answer as its HTTP server writes it. */
export function httpAnswer(exitCode: number, stdout: string): string {
  return `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nConnection: close\r\n\r\n${JSON.stringify({ exitCode, stdout })}`
}

/** The error that the plugin printed. */
export function errorOf(stdout: Buffer): { code: number; msg: string; details: string } {
  return JSON.parse(stdout.toString('utf8'))
}
