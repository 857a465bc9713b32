// The filters that Calico's confd writes for BIRD, evaluated, beside what a session here makes of the same routes: only the
// statements that confd writes are known, and any other one is an error.
import type { Session } from '../../../agent/cluster/sessions.ts'
import { outsideImport, PEER_GROUP } from '../../../agent/cluster/trust.ts'
import { Policy, type PolicySubject } from '../../../bgp/policy.ts'
import { addressBytes, cidr, contains, formatCidr } from '../../../lib/ip.ts'

type Route = {
  net: string
  learned: boolean
  ifname?: string
  path: readonly number[]
  localPref?: number
  communities: readonly string[]
}
type Verdict = 'accept' | 'reject' | 'goes on'
type Outcome = { verdict: Verdict; route: Route }

/** Everything in which a session's filters of one direction are not those of Calico, on routes made of what they name. */
export function filterDifferences(
  session: Session,
  direction: 'import' | 'export',
  functions: readonly (readonly string[])[],
): string[] {
  const policy = policyOf(session, direction)
  const type = (session.localAs ?? 64512) === session.asn ? 'ibgp' : 'ebgp'
  return routesFor(functions.flat()).flatMap(route => {
    const [wanted, got] = [ofBird(functions, route), ofPolicy(policy, route, type)].map(each => JSON.stringify(each))
    return wanted === got ? [] : [`${direction} of ${JSON.stringify(route)}: ${wanted}, and ${got} here`]
  })
}

function policyOf({ group, import: imports, importFilters = [], export: exports }: Session, direction: string): Policy {
  const isOutside = group === PEER_GROUP.outside
  const rules = isOutside
    ? outsideImport({ own: [], pools: [], services: { ranges: [], pods: [] }, nodes: [] }, importFilters)
    : imports
  return new Policy(direction === 'import' ? rules : exports, { external: true })
}

function ofPolicy(policy: Policy, route: Route, peerType: 'ibgp' | 'ebgp'): Outcome {
  const { address, length } = cidr(route.net)
  const attributes = {
    asPath: [{ type: 2, asns: [...route.path] }],
    localPref: route.localPref,
    communities: route.communities.filter(text => text.split(':').length === 2).map(standard),
    largeCommunities: route.communities.filter(text => text.split(':').length === 3).map(large),
  }
  const { learned, ifname } = route
  const subject: PolicySubject = {
    ...{ octets: addressBytes(address), length, attributes, learned, peerType },
    ...(ifname !== undefined && { interface: ifname }),
  }
  const verdict = policy.evaluate(subject)
  if (!verdict.reason.startsWith('BGPFilter ')) return { verdict: 'goes on', route }
  const { asPath = [], localPref, communities = [], largeCommunities = [] } = policy.apply(verdict, attributes)
  return {
    verdict: verdict.action,
    route: {
      ...route,
      path: asPath.flatMap(({ asns }) => asns),
      ...(localPref !== undefined && { localPref }),
      communities: [
        ...communities.map(value => `${value >>> 16}:${value & 0xffff}`),
        ...largeCommunities.map(({ global, local1, local2 }) => `${global}:${local1}:${local2}`),
      ].filter(text => !text.startsWith('4200000000:')),
    },
  }
}

function standard(text: string): number {
  const [high = 0, low = 0] = text.split(':').map(Number)
  return high * 65536 + low
}

function large(text: string) {
  const [global = 0, local1 = 0, local2 = 0] = text.split(':').map(Number)
  return { global, local1, local2 }
}

function ofBird(functions: readonly (readonly string[])[], route: Route): Outcome {
  for (const statement of functions.flat()) {
    const [, condition = '', done = ''] = /^if \((.*)\) then \{ (.*) \}$/.exec(statement) ?? ['', '', statement]
    if (condition !== '' && !holds(condition, route)) continue
    const commands = done
      .split(';')
      .map(text => text.trim())
      .filter(text => text !== '')
    const verdict = commands.at(-1)
    if (verdict !== 'accept' && verdict !== 'reject') throw new Error(`no verdict in ${statement}`)
    return { verdict, route: commands.slice(0, -1).reduce(changed, route) }
  }
  return { verdict: 'goes on', route }
}

/** Conditions joined by `&&`, in any number of brackets around each. */
function holds(text: string, route: Route): boolean {
  return text.split('&&').every(part => {
    const condition = unbracketed(part)
    for (const [form, test] of CONDITIONS) {
      const found = form.exec(condition)
      if (found !== null) return test(route, found[1] ?? '', found[2] ?? '')
    }
    throw new Error(`not a condition of Calico's: ${condition}`)
  })
}

/** Brackets that a part of a condition has too many, since it was cut out of others, or around all of it. */
function unbracketed(part: string): string {
  let text = part.trim()
  const count = (bracket: string) => text.split(bracket).length - 1
  while (count('(') > count(')')) text = text.slice(text.indexOf('(') + 1).trim()
  while (count(')') > count('(')) text = text.slice(0, text.lastIndexOf(')')).trim()
  while (text.startsWith('(') && closing(text) === text.length - 1) text = text.slice(1, -1).trim()
  return text
}

/** Where the first bracket ends. */
function closing(text: string): number {
  let depth = 0
  return [...text].findIndex(each => {
    depth += each === '(' ? 1 : each === ')' ? -1 : 0
    return depth === 0
  })
}

type Condition = readonly [form: RegExp, holds: (route: Route, first: string, second: string) => boolean]
const CONDITIONS: readonly Condition[] = [
  [
    /^net (~|!~|=|!=) (\S+)$/,
    ({ net }, operator, text) => {
      const outer = formatCidr(cidr(text))
      const found = operator.endsWith('~') ? contains(outer, net) : outer === net
      return found !== operator.startsWith('!')
    },
  ],
  [/^defined\(source\)$/, () => true],
  [/^source ~ \[ RTS_BGP \]$/, ({ learned }) => learned],
  [/^defined\(ifname\)$/, ({ ifname }) => ifname !== undefined],
  [
    /^ifname ~ "(.*)"$/,
    ({ ifname = '' }, pattern) => new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '.*')}$`).test(ifname),
  ],
  [/^bgp_path ~ \[= ([\d ]*) \* =\]$/, ({ path }, asns) => asns.split(' ').every((asn, i) => path[i] === Number(asn))],
  [/^defined\(bgp_local_pref\)$/, ({ localPref }) => localPref !== undefined],
  [/^bgp_local_pref = (\d+)$/, ({ localPref }, value) => localPref === Number(value)],
  [
    /^\((.*)\) ~ bgp_(?:large_)?community$/,
    ({ communities }, value) => communities.includes(value.replaceAll(', ', ':')),
  ],
]

function changed(route: Route, command: string): Route {
  const prepended = /^bgp_path\.prepend\((\d+)\)$/.exec(command)?.[1]
  const added = /^bgp_(?:large_)?community\.add\(\((.*)\)\)$/.exec(command)?.[1]
  const localPref = /^bgp_local_pref = (\d+)$/.exec(command)?.[1]
  if (prepended !== undefined) return { ...route, path: [Number(prepended), ...route.path] }
  if (added !== undefined) return { ...route, communities: [...route.communities, added.replaceAll(', ', ':')] }
  if (localPref !== undefined) return { ...route, localPref: Number(localPref) }
  throw new Error(`not a command of Calico's: ${command}`)
}

/** Routes to what the statements name, within it, around it and elsewhere, with what they ask for and without it. */
function routesFor(statements: readonly string[]): Route[] {
  const text = statements.join('\n')
  const all = (form: RegExp) => [...new Set([...text.matchAll(form)].map(([, found]) => found!))]
  const named = all(/net !?[~=]\s?(\S+?)\)/g).map(each => formatCidr(cidr(each)))
  const isV6 = named.some(each => each.includes(':')) || /V6/.test(text)
  const elsewhere = isV6 ? ['2001:db8::/32'] : ['198.51.100.0/24']
  const nets = named.flatMap(net => {
    const { family, address, length } = cidr(net)
    return [net, formatCidr({ family, address, length: length + 4 }), formatCidr(cidr(`${address}/${length - 8}`))]
  })
  const names = all(/ifname ~ "(.*?)"/g).flatMap(each => [each.replaceAll('*', ''), each.replaceAll('*', 'x0')])
  const paths = all(/bgp_path ~ \[= ([\d ]*) \*/g).map(each => each.split(' ').map(Number))
  const prefs = all(/bgp_local_pref = (\d+)/g).map(Number)
  const communities = all(/\(([\d, ]+)\) ~ bgp/g).map(each => each.replaceAll(', ', ':'))
  const routes: Route[] = []
  for (const net of new Set([...nets, ...elsewhere]))
    for (const learned of [true, false])
      for (const ifname of [undefined, 'other', ...names.filter(name => name !== '')])
        for (const path of [[], [7], ...paths, ...paths.map(asns => [...asns, 8])])
          for (const localPref of [undefined, 100, ...prefs])
            for (const carried of [[], communities])
              routes.push({
                ...{ net, learned, path, communities: carried },
                ...(ifname !== undefined && { ifname }),
                ...(localPref !== undefined && { localPref }),
              })
  return routes
}
