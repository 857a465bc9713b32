// What a plugin that names margay-ipam asks the agent, and what it is told: a bridge where a test says no other.
import type { ExecutionContext } from 'ava'
import { type CniAnswer, handleCni } from '../../cni/handle.ts'
import { aHost, type Host } from './host.ts'

export type Asked = { id?: string; ifname?: string; args?: string; conf?: object; ipam?: object }

export function ask(
  { deps }: Host,
  verb: string,
  { id = 'c1', ifname = 'eth0', args = '', conf, ipam }: Asked = {},
): Promise<CniAnswer> {
  const env = {
    ...{ CNI_COMMAND: verb, CNI_CONTAINERID: id, CNI_NETNS: '/proc/7/ns/net', CNI_IFNAME: ifname },
    ...{ CNI_PATH: '/', CNI_ARGS: args },
  }
  const stdin = {
    cniVersion: '1.1.0',
    name: 'br',
    type: 'bridge',
    isGateway: true,
    ...conf,
    ipam: { type: 'margay-ipam', ...ipam },
  }
  return handleCni({ env, stdin: JSON.stringify(stdin) }, deps, undefined, 'another')
}

export async function given(host: Host, asked: Asked = {}) {
  const { exitCode, stdout } = await ask(host, 'ADD', asked)
  if (exitCode !== 0) throw new Error(stdout)
  return JSON.parse(stdout)
}

export async function fault(
  host: Host,
  verb: string,
  asked: Asked = {},
): Promise<{ code: number; msg: string; details: string }> {
  const { exitCode, stdout } = await ask(host, verb, asked)
  if (exitCode === 0) throw new Error('it is no fault')
  return JSON.parse(stdout)
}

export const pods = ({ allocator }: Host) => [...allocator.held().keys()].filter(handle => !handle.endsWith('/26'))

export type Refused = readonly [asked: Asked, msg: RegExp, details: RegExp]

/** An ADD that asks so is refused for good with what to do and holds nothing, and a DEL of it ends. */
export async function isRefused(t: ExecutionContext, ...[asked, msg, details]: Refused): Promise<void> {
  const host = await aHost()
  const told = await fault(host, 'ADD', asked)
  t.is(told.code, 2, told.msg)
  t.regex(told.msg, msg)
  t.regex(told.details, details)
  t.deepEqual(pods(host), [])
  t.is((await ask(host, 'DEL', asked)).exitCode, 0)
}
