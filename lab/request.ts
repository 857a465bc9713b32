// What `npm run lab` is asked for, from its words. Pure.
import { parseArgs } from 'node:util'
import type { ProxyMode } from './kubernetes/programs.ts'
import { MAX_NODES } from './plan.ts'

/** The words make no sense; the message says which. */
export class WrongUsage extends Error {
  override readonly name = 'WrongUsage'
}

export type LabRequest = {
  keep: boolean
  json: boolean
  vm: boolean
  kubernetes: boolean
  proxy: ProxyMode
  nodes: readonly [number, number]
}

/** Of a lab that was kept. */
export type KeptRequest =
  /** Without a name: the list of them. `tell`: with causes and remedies. */
  | { menu: 'fault'; name?: string; tell: boolean }
  /** Without a name: all of them. */
  | { menu: 'heal'; name?: string }
  /** `node`: whose agent is asked, where the command asks one. */
  | { menu: 'ctl'; node?: string; words: readonly string[] }
  | { menu: 'explain'; words: readonly string[] }
  /** Without words: to type commands there. */
  | { menu: 'shell'; at: string; words: readonly string[] }

export type Request = 'help' | 'down' | LabRequest | KeptRequest

/** Throws WrongUsage. */
export function parseRequest(args: readonly string[]): Request {
  const [first, ...rest] = args
  if (first === 'fault') return rest.includes('--help') ? 'help' : parseFault(rest)
  // what follows is words of another program, its options too
  if (first === 'ctl') return parseCtl(rest)
  if (first === 'explain') return parseExplain(rest)
  if (first === 'shell') return parseShell(rest)
  return parseLab(args)
}

function parseFault(args: readonly string[]): KeptRequest {
  const { values, positionals } = parsed(() =>
    parseArgs({ args: [...args], allowPositionals: true, options: { tell: { type: 'boolean', default: false } } }),
  )
  const [first, ...others] = positionals
  const [name] = first === 'heal' ? others : [first]
  if (positionals.length > (first === 'heal' ? 2 : 1)) throw new WrongUsage(`unknown word ${positionals.at(-1)}`)
  if (first !== 'heal') return { menu: 'fault', name, tell: values.tell }
  if (values.tell) throw new WrongUsage('fault heal takes no --tell')
  return { menu: 'heal', name }
}

function parseCtl([first, ...others]: readonly string[]): KeptRequest {
  if (first === undefined) throw new WrongUsage('ctl: give a command of margayctl, such as get nodes')
  return /^n\d+$/.test(first) ? { menu: 'ctl', node: first, words: others } : { menu: 'ctl', words: [first, ...others] }
}

function parseExplain(words: readonly string[]): KeptRequest {
  if (words.length === 0) throw new WrongUsage('explain: give two ends, or one node: explain n1-p1 n2-p1')
  return { menu: 'explain', words }
}

function parseShell([at, ...words]: readonly string[]): KeptRequest {
  if (at === undefined || at.startsWith('-')) throw new WrongUsage('shell: give a node, a pod, router or api: shell n1')
  return { menu: 'shell', at, words }
}

function parseLab(args: readonly string[]): Request {
  const { values, positionals } = parsed(() =>
    parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        keep: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        vm: { type: 'boolean', default: false },
        kubernetes: { type: 'boolean', default: false },
        proxy: { type: 'string' },
        nodes: { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }),
  )
  if (values.help) return 'help'
  const down = positionals[0] === 'down'
  if (positionals.length > (down ? 1 : 0)) throw new WrongUsage(`unknown word ${positionals.at(-1)}`)
  const { keep, json, vm, kubernetes } = values
  if (down && (keep || json || vm || kubernetes || values.nodes !== undefined || values.proxy !== undefined))
    throw new WrongUsage('down takes no option')
  if (down) return 'down'
  if (keep && vm) throw new WrongUsage('--keep with --vm would keep nothing: the machine ends with the lab')
  if (kubernetes && vm) throw new WrongUsage('--kubernetes and --vm: give one of them')
  if (!kubernetes && values.proxy !== undefined) throw new WrongUsage('--proxy needs --kubernetes')
  const proxy = parseProxy(values.proxy ?? 'nftables')
  return { keep, json, vm, kubernetes, proxy, nodes: parseNodes(values.nodes ?? '2,1') }
}

/** What `parseArgs` gives; throws WrongUsage with its words. */
export function parsed<T>(parse: () => T): T {
  try {
    return parse()
  } catch (error) {
    throw new WrongUsage((error as Error).message)
  }
}

function parseProxy(text: string): ProxyMode {
  if (text === 'nftables' || text === 'iptables') return text
  throw new WrongUsage(`--proxy ${text}: give nftables or iptables`)
}

function parseNodes(text: string): readonly [number, number] {
  const match = /^(\d{1,3}),(\d{1,3})$/.exec(text)
  const [a, b] = [Number(match?.[1]), Number(match?.[2])]
  if (match === null || a + b < 1 || a + b > MAX_NODES)
    throw new WrongUsage(`--nodes ${text}: give two numbers such as 2,1 with a sum of 1 to ${MAX_NODES}`)
  return [a, b]
}
