// The program that a container runtime executes: it sends the request to the agent and prints the answer. It has no state
// and no credentials. Its start-up time is the delay of every pod, so it uses built-in modules only, loads them when they
// are needed, and has no HTTP client (HTTP/1.0 over the unix socket: the answer ends with the connection). It runs as a
// module here and, with its types removed, as the one plain script that `install.ts` writes.

type AgentAnswer = { exitCode: number; stdout: string }

const SUPPORTED = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0']
const DEFAULT_SOCKET = '/run/margay/agent.sock'
/** A GC of a full node lists some thousand attachments of about 120 bytes. */
const MOST_INPUT = 4 * 1024 * 1024
/** Runtimes give up after two to four minutes; this limit is shorter, so that the error names the reason. */
const PATIENCE_MS = 100_000

const fs = process.getBuiltinModule('node:fs')

class Failure extends Error {
  readonly code: number
  readonly details: string
  constructor(code: number, message: string, details: string) {
    super(message)
    this.code = code
    this.details = details
  }
}

/** All of standard input, up to the limit. Synchronous: nothing can be done before it is read. */
function readInput(): string {
  const chunks: Buffer[] = []
  let size = 0
  for (;;) {
    const chunk = Buffer.allocUnsafe(65_536)
    let got: number
    try {
      got = fs.readSync(0, chunk)
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      if (code === 'EOF') break
      if (code === 'EAGAIN') {
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5) // a non-blocking pipe that is empty for now
        continue
      }
      throw new Failure(
        5,
        `reading standard input failed: ${message}`,
        'the runtime must hand over a readable file or pipe',
      )
    }
    if (got === 0) break
    size += got
    if (size > MOST_INPUT)
      throw new Failure(
        6,
        `standard input has more than ${MOST_INPUT} bytes`,
        'a network configuration is never that large',
      )
    chunks.push(chunk.subarray(0, got))
  }
  return Buffer.concat(chunks, size).toString('utf8')
}

/** The value under a key without regard to case, as Go decoders look keys up. */
function field(config: unknown, name: string): unknown {
  if (typeof config !== 'object' || config === null) return undefined
  const key = Object.keys(config).find(other => other.toLowerCase() === name.toLowerCase())
  return key === undefined ? undefined : (config as Record<string, unknown>)[key]
}

function parseInput(text: string): object {
  let why = 'the configuration is not an object'
  try {
    const config: unknown = JSON.parse(text)
    if (typeof config === 'object' && config !== null && !Array.isArray(config)) return config
  } catch (error) {
    why = text.trim() === '' ? 'standard input is empty' : (error as Error).message
  }
  throw new Failure(6, `error parsing config: ${why}`, 'standard input must be the network configuration as JSON')
}

function socketOf(config: unknown): string {
  const path = field(config, 'agentSocket') ?? DEFAULT_SOCKET
  if (typeof path === 'string' && path.startsWith('/')) return path
  throw new Failure(2, `invalid value of agentSocket: ${JSON.stringify(path)}`, 'agentSocket must be an absolute path')
}

/** Only the variables of the specification are sent; the rest of the runtime's environment may hold secrets. */
function cniVariables(): Record<string, string> {
  const variables: Record<string, string> = {}
  for (const [name, value] of Object.entries(process.env))
    if (name.startsWith('CNI_') && value !== undefined) variables[name] = value
  return variables
}

/** Sends one POST and returns its answer. Rejects with `Failure` when there is no answer or it cannot be read. */
function ask(socketPath: string, body: string): Promise<AgentAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<AgentAnswer>()
  const away = (why: string): Failure =>
    new Failure(
      process.env['CNI_COMMAND'] === 'STATUS' ? 50 : 11,
      `the Margay agent does not answer on ${socketPath}: ${why}`,
      'is margay-node running on this node? The runtime tries again by itself; nothing was changed or lost',
    )
  const socket = process.getBuiltinModule('node:net').connect(socketPath)
  const chunks: Buffer[] = []
  socket.setTimeout(PATIENCE_MS, () => socket.destroy(new Error(`no answer within ${PATIENCE_MS / 1000} s`)))
  socket.on('error', error => reject(away(error.message)))
  socket.on('data', chunk => chunks.push(chunk))
  socket.on('close', () => {
    const text = Buffer.concat(chunks).toString('utf8')
    const end = text.indexOf('\r\n\r\n')
    if (end < 0) return reject(away('it closed the connection'))
    if (!/^HTTP\/1\.[01] 200 /.test(text)) return reject(away(text.slice(0, text.indexOf('\r\n'))))
    try {
      const { exitCode, stdout }: Partial<AgentAnswer> = JSON.parse(text.slice(end + 4))
      if (typeof exitCode !== 'number' || typeof stdout !== 'string') throw new Error('it is not an answer')
      resolve({ exitCode, stdout })
    } catch (error) {
      reject(away(`its answer was cut off (${(error as Error).message})`))
    }
  })
  socket.on('connect', () => {
    const length = Buffer.byteLength(body)
    socket.write(
      `POST /cni HTTP/1.0\r\nHost: agent\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n${body}`,
    )
  })
  return promise
}

/** Resolves when all is written, whatever kind of file standard output is: only then may the process end. */
function print(descriptor: number, text: string): void {
  for (let rest = Buffer.from(text); rest.length > 0; ) {
    try {
      rest = rest.subarray(fs.writeSync(descriptor, rest))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
    }
  }
}

async function run(): Promise<number> {
  const command = process.env['CNI_COMMAND']
  if (command === undefined) {
    print(2, `Margay: a routed network for containers\nCNI protocol versions supported: ${SUPPORTED.join(', ')}\n`)
    return 0
  }
  let cniVersion = SUPPORTED[SUPPORTED.length - 1]
  try {
    const stdin = readInput()
    if (command === 'VERSION') {
      let asked: unknown
      try {
        asked = field(JSON.parse(stdin), 'cniVersion')
      } catch {} // VERSION answers even when standard input is not JSON
      const answered = typeof asked === 'string' && asked !== '' ? asked : cniVersion
      print(1, `${JSON.stringify({ cniVersion: answered, supportedVersions: SUPPORTED })}\n`)
      return 0
    }
    const config = parseInput(stdin)
    const version = field(config, 'cniVersion') ?? '0.1.0'
    if (SUPPORTED.includes(String(version))) cniVersion = String(version)
    const { exitCode, stdout } = await ask(socketOf(config), JSON.stringify({ env: cniVariables(), stdin }))
    if (stdout !== '') print(1, `${stdout}\n`)
    return exitCode
  } catch (error) {
    const known = error instanceof Failure
    const code = known ? error.code : 999
    const details = known ? error.details : 'this is a bug in Margay: please report it'
    print(1, `${JSON.stringify({ cniVersion, code, msg: (error as Error).message, details })}\n`)
    return 1
  }
}

run().then(code => process.exit(code))
