// The program that a container runtime executes: it sends the request to the agent and prints the answer. It has no state
// and no credentials. Its start-up time is the delay of every pod, so it uses built-in modules only, loads them when they
// are needed, and has no HTTP client (HTTP/1.0 over the unix socket: the answer ends with the connection). It runs as a
// module here and, with its types removed, as the one plain script that `install.ts` writes.

type AgentAnswer = { exitCode: number; stdout: string }

const SUPPORTED = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0']
const DEFAULT_SOCKET = '/run/margay/agent.sock'
/** A GC of a full node lists some thousand attachments of about 120 bytes. */
const MOST_INPUT = 4 * 1024 * 1024
/** The agent says every two seconds that it works on a request: after this time without a word it is stopped or stuck. */
const SILENCE_MS = 10_000
/** Runtimes give up after two to four minutes; after so many signs of life this error names the reason before that. */
const MOST_SIGNS = 50

/** The verbs with the variables that each needs and the version it came with; as `VERBS` in request.ts has them. */
const VERBS: Record<string, readonly [needs: readonly string[], since: string]> = {
  ADD: [['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME'], '0.1.0'],
  DEL: [['CNI_CONTAINERID', 'CNI_IFNAME'], '0.1.0'],
  CHECK: [['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME'], '0.4.0'],
  GC: [['CNI_PATH'], '1.1.0'],
  STATUS: [[], '1.1.0'],
}

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
  } catch {
    // the words of JSON.parse quote the configuration, and there may be credentials in it
    why = text.trim() === '' ? 'standard input is empty' : 'standard input is not JSON'
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

/**
 * What is wrong with a request whatever the node is like, so that a runtime is not told to try again without end. Only
 * asked when the agent does not answer: else the agent checks all of it.
 */
function fault(command: string, config: object): Failure | undefined {
  const verb = VERBS[command]
  if (verb === undefined)
    return new Failure(
      4,
      `unknown CNI_COMMAND: ${command}`,
      `it must be one of ${Object.keys(VERBS).join(', ')}, VERSION`,
    )
  const [needs, since] = verb
  const missing = needs.filter(name => (process.env[name] ?? '') === '')
  if (missing.length > 0)
    return new Failure(
      4,
      `required env variables [${missing.join(',')}] missing`,
      `the runtime must set them for ${command}`,
    )
  const version = String(field(config, 'cniVersion') || SUPPORTED[0])
  if (!SUPPORTED.includes(version))
    return new Failure(
      1,
      'incompatible CNI versions',
      `config is "${version}", plugin supports ${JSON.stringify(SUPPORTED)}`,
    )
  if (SUPPORTED.indexOf(version) < SUPPORTED.indexOf(since))
    return new Failure(
      1,
      `config version does not allow ${command}`,
      `the configuration has cniVersion "${version}": ${command} exists since ${since}`,
    )
  return undefined
}

/** Sends one POST and returns its answer. Rejects with `Failure` when there is no answer or it cannot be read. */
function ask(socketPath: string, body: string): Promise<AgentAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<AgentAnswer>()
  let sent = false
  // code 11 for DEL too: the runtime must call it again, or what ADD made stays for good
  const away = (why: string): Failure =>
    new Failure(
      process.env['CNI_COMMAND'] === 'STATUS' ? 50 : 11,
      `the Margay agent does not answer on ${socketPath}: ${why}`,
      sent
        ? 'the agent may have carried out the request in part or in full: the runtime must call it again, or DEL, which removes whatever is there'
        : 'is margay-node running on this node? Nothing was changed; the runtime tries again by itself',
    )
  const socket = process.getBuiltinModule('node:net').connect(socketPath)
  const chunks: Buffer[] = []
  let signs = 0
  socket.setTimeout(SILENCE_MS, () =>
    socket.destroy(new Error(`${sent ? 'not a word' : 'no connection'} within ${SILENCE_MS / 1000} s`)),
  )
  socket.on('error', error => reject(away(error.message)))
  socket.on('data', chunk => {
    chunks.push(chunk)
    if (chunk.length === 1 && ++signs >= MOST_SIGNS) socket.destroy(new Error('it works on the request without end'))
  })
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
    sent = true
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
    const request = JSON.stringify({ env: cniVariables(), stdin })
    const { exitCode, stdout } = await ask(socketOf(config), request).catch((error: unknown) => {
      throw fault(command, config) ?? error
    })
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
