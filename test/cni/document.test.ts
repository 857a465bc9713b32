// docs/cni.md is what the tables say, and the tables are what the program does.
import { globSync, readFileSync } from 'node:fs'
import test from 'ava'
import { CAPABILITIES } from '../../cni/capabilities.ts'
import { CNI_ERRORS, CniError } from '../../cni/error.ts'
import { ARGS, KEYS, VARIABLES } from '../../cni/keys.ts'
import { parseRequest } from '../../cni/request.ts'
import { CNI_VERSIONS } from '../../cni/result.ts'
import { cniText } from '../../manifests/cni.ts'

const root = new URL('../../', import.meta.url).pathname
const textOf = (file: string): string => readFileSync(`${root}${file}`, 'utf8')
const parser = ['cni/request.ts', 'cni/asked-for.ts'].map(textOf).join('\n')
const plugin = textOf('cni/plugin.c')

const ENV = { CNI_CONTAINERID: 'c1', CNI_NETNS: '/run/netns/x', CNI_IFNAME: 'eth0', CNI_PATH: '/' }

/** The refusal of a configuration that has this value at a path; undefined where it is taken. */
function refusal(verb: string, path: readonly string[], value: unknown): CniError | undefined {
  const nested = path.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value)
  const stdin = JSON.stringify({ cniVersion: '1.1.0', name: 'net', ...(nested as object) })
  try {
    parseRequest({ env: { ...ENV, CNI_COMMAND: verb }, stdin })
    return undefined
  } catch (error) {
    if (error instanceof CniError) return error
    throw error
  }
}

test('docs/cni.md has the tables as they are', t => {
  t.is(textOf('docs/cni.md'), cniText(), 'npm run manifests writes it')
})

test('every key has a row, and is read: where its value is none the error names it', t => {
  for (const [path, key] of Object.entries(KEYS)) {
    // the plugin reads it; test/cni/install.test.ts has its error
    if (path === 'agentSocket') {
      t.true(plugin.includes(`"${path}"`))
      continue
    }
    const isList = path === 'cni.dev/valid-attachments'
    const error = refusal(isList ? 'GC' : 'ADD', isList ? [path] : path.split('.'), 3.5)
    const name = isList ? path : path.split('.').at(-1)!
    t.true(error?.message.includes(name), `${path}: ${error?.message}`)
    if ('instead' in key) t.true(error?.details.includes(key.instead), path)
  }
})

test('every capability is acted on or refused', t => {
  for (const [name, row] of Object.entries(CAPABILITIES)) {
    const error = refusal('ADD', ['runtimeConfig', name], 3.5)
    t.is(error?.code, 2, name)
    t.true(error?.message.includes(name), error?.message)
    if ('instead' in row) t.true(error?.details.includes(row.instead), error?.details)
  }
})

test('every variable and every key of CNI_ARGS that is looked at has a row, and every row is looked at', t => {
  const used = [...`${parser}\n${plugin}`.matchAll(/\b(CNI_(?:[A-Z]+_?)+)\b(?!\.)/g)].map(([, name]) => name!)
  const names = new Set(used.filter(name => !['CNI_CODE', 'CNI_VERSIONS'].includes(name)))
  t.deepEqual([...names].toSorted(), Object.keys(VARIABLES).toSorted())
  for (const name of Object.keys(ARGS)) t.regex(parser, new RegExp(`args\\['${name}'\\]|\\b${name}: `), name)
})

test('every code of the table is given somewhere, and the plugin gives no other one', t => {
  const rooms = globSync('{agent,cni}/**/*.ts', { cwd: root }).map(textOf).join('\n')
  for (const name of Object.keys(CNI_ERRORS)) t.true(rooms.includes(`CNI_CODE.${name}`), name)
  const codes = Object.values(CNI_ERRORS).map(({ code }): number => code)
  t.is(new Set(codes).size, codes.length)
  const given = [...plugin.matchAll(/(?:begin_error\(&w, &?request|fail\(&?request), ([^)]*?)[,)]/g)]
  const numbers = given.flatMap(([, text]) => text!.match(/\b\d+\b/g) ?? []).map(Number)
  t.true(numbers.length > 6)
  for (const code of numbers) t.true(codes.includes(code), `${code}`)
})

test('every error of the table has a remedy, and the versions of the page are those of the program', t => {
  for (const { when, remedy } of Object.values(CNI_ERRORS)) t.true(when.length > 5 && remedy.length > 5)
  t.true(cniText().includes(`from ${CNI_VERSIONS[0]} to ${CNI_VERSIONS.at(-1)}`))
})
