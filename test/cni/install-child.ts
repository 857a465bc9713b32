// Installs again and again over older files, and ends each time at another call of node:fs that changes something, as a
// process does that is killed there, or whose disk is full there: `node install-child.ts BIN CONF (kill | full)`. Prints
// what lies there after each step, before and after the next installer. A process of its own, since it changes node:fs.
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'

export type Step = { plugin: string; conf: string; names: string[]; repaired: string[] }

const [binDir = '', confDir = '', how] = process.argv.slice(2)
const [plugin, conf] = [join(binDir, 'margay'), join(confDir, '10-margay.conflist')]
/** Calls until the end; a negative number: no end. */
let left = -1
let met = false

for (const name of [
  'mkdirSync',
  'openSync',
  'writeFileSync',
  'fchmodSync',
  'fsyncSync',
  'renameSync',
  'rmSync',
] as const) {
  const real = fs[name] as (...args: unknown[]) => unknown
  Reflect.set(fs, name, (...args: unknown[]) => {
    if (left > 0) left--
    if (left !== 0) return real(...args)
    met = true
    // a file that is cut off in its middle
    if (name === 'writeFileSync') real(args[0], Buffer.from(args[1] as Uint8Array).subarray(0, 100))
    if (how === 'full') {
      left = -1
      if (name === 'rmSync') return real(...args) // it needs no room
    }
    // who is killed calls nothing more: every later call ends here too
    throw Object.assign(new Error(`${how} at ${name}`), { code: how === 'full' ? 'ENOSPC' : 'KILLED' })
  })
}
syncBuiltinESMExports()

const { installPlugin } = await import('../../cni/install.ts')
const install = () => installPlugin({ binDir, confDir, socket: '/run/margay/agent.sock' })
const texts = () => ({ plugin: fs.readFileSync(plugin, 'utf8'), conf: fs.readFileSync(conf, 'utf8') })
const names = () => [...fs.readdirSync(binDir), ...fs.readdirSync(confDir)]
const older = texts()
const steps: Step[] = []
for (let step = 1; ; step++) {
  fs.writeFileSync(plugin, older.plugin, { mode: 0o755 })
  fs.writeFileSync(conf, older.conf)
  met = false
  left = step
  try {
    install()
  } catch (error) {
    if (!/^(kill|full) at /.test((error as Error).message)) throw error
  }
  left = -1
  if (!met) break
  const after = { ...texts(), names: names() }
  install()
  steps.push({ ...after, repaired: [...Object.values(texts()), ...names()] })
}
console.log(JSON.stringify(steps))
