// What the programs of `npm run bench` say of themselves, and of arguments that they do not know. One of them is run: each takes a
// second of a processor to load.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { globSync, readFileSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import test from 'ava'

const FOLDER = fileURLToPath(new URL('../../bench', import.meta.url))

test('a bench has its usage with exit codes on stdout for --help and ends with 0, and on stderr with 2 where it is wrong', async t => {
  const usage = 'Usage: npm run bench:memory'
  const help = await run('--help')
  t.is(help.code, 0, help.stderr)
  t.true(help.stdout.startsWith(usage))
  t.regex(help.stdout, /\nExit codes: 0 .*2 wrong usage/)
  t.is(help.stderr, '')
  const wrong = await run('--pods', '3')
  t.is(wrong.code, 2, wrong.stderr)
  t.true(wrong.stderr.startsWith('--pods 3: give a whole number from 40 on\n'))
  t.true(wrong.stderr.includes(usage))
  t.is(wrong.stdout, '')
})

test('every program of that folder takes its arguments so, under its own name', t => {
  const programs = globSync('**/main.ts', { cwd: FOLDER }).filter(path => path !== 'soak/main.ts')
  t.true(programs.length > 5)
  for (const path of programs) {
    const source = readFileSync(`${FOLDER}/${path}`, 'utf8')
    const name = path === 'main.ts' ? 'bench' : `bench:${path.split('/')[0]}`
    t.regex(source, new RegExp(`Usage: npm run ${name}[ \n]`), path)
    t.regex(source, /\bfromArguments\(\s*HELP,/, path)
  }
})

async function run(...args: string[]) {
  const child = spawn(process.execPath, [`${FOLDER}/memory/main.ts`, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  return { stdout, stderr, code }
}
