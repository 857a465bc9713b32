// The `bgp` commands: peers, one prefix's candidates, and what an operator may ask of a running speaker.

import { bfdAnswer, clearAnswer, reloadAnswer, routeAnswer, statusAnswer } from '../api/answers.ts'
import { openconfigAnswer } from '../api/openconfig-answer.ts'
import { formatCidr, parseCidr } from '../lib/ip.ts'
import { bgpPreviewCommand } from './bgp-preview.ts'
import { bgpSimulateCommand } from './bgp-simulate.ts'
import { renderBfd, renderReload, renderRoute } from './bgp-view.ts'
import { type Command, type Context, type Options, outputOption } from './command.ts'
import { drainHere } from './drain.ts'
import { EXIT, type ExitCode, UsageError } from './failure.ts'
import { STATUS } from './node.ts'
import { renderPeers } from './node-view.ts'
import { FORMATS, type Format, renderValue, show } from './render.ts'
import { ask, download, socketOption } from './socket.ts'

/** The format of the neighbors in the JSON of openconfig-bgp. */
const OPENCONFIG = 'openconfig'

export const bgpCommands: readonly Command[] = [
  {
    name: 'bgp peers',
    summary: 'Show the BGP peers, and why one is not up',
    arguments: [],
    options: [socketOption, { ...outputOption, choices: [...FORMATS, OPENCONFIG] }],
    run: peers,
  },
  {
    name: 'bgp route',
    summary: 'Show every candidate for a prefix and what decided between them',
    arguments: [{ name: '<prefix>', summary: 'exactly, such as 10.244.0.64/26' }],
    options: [socketOption, outputOption],
    run: route,
  },
  {
    name: 'bgp drain',
    summary: 'Show whether this node drains, which peers know what it announces now, and what no other node announces',
    arguments: [],
    options: [socketOption, outputOption],
    run: drainHere,
  },
  {
    name: 'bgp bfd',
    summary: 'Show the BFD sessions: states, times, packets, and how often each was lost',
    arguments: [],
    options: [socketOption, outputOption],
    run: bfd,
  },
  bgpPreviewCommand,
  bgpSimulateCommand,
  {
    name: 'bgp clear',
    summary: 'Reset the session with a peer of margay-bgp, or work through its routes again',
    arguments: [{ name: '<peer>', summary: "a peer's name" }],
    options: [
      { flags: '--soft-in', summary: 'keep the session: ask the peer for its routes and judge them again' },
      { flags: '--soft-out', summary: 'keep the session: announce all routes to the peer again' },
      socketOption,
      outputOption,
    ],
    run: clear,
  },
  {
    name: 'bgp reload',
    summary: 'Make margay-bgp read its configuration file again',
    arguments: [],
    options: [{ flags: '--dry-run', summary: 'only say what that would do' }, socketOption, outputOption],
    run: reload,
  },
  {
    name: 'bgp dump',
    summary: 'Write the routes that margay-bgp has, as received, to an MRT file (TABLE_DUMP_V2)',
    arguments: [{ name: '<file>', summary: 'there whole or not at all; an old one is replaced' }],
    options: [socketOption],
    run: dump,
  },
]

async function peers(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  if (options['output'] === OPENCONFIG) {
    const found = await ask(
      options,
      openconfigAnswer,
      { method: 'GET', path: '/bgp/openconfig', owner: 'margay-node' },
      { method: 'GET', path: '/openconfig', owner: 'margay-bgp' },
    )
    context.out(renderValue(found, 'json'))
    return EXIT.fine
  }
  const { peers: found } = await ask(options, statusAnswer, ...STATUS)
  context.out(show({ peers: found }, options['output'] as Format, format => renderPeers(found, format)))
  return EXIT.fine
}

async function bfd(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const found = await ask(
    options,
    bfdAnswer,
    { method: 'GET', path: '/bgp/bfd', owner: 'margay-node' },
    { method: 'GET', path: '/bfd', owner: 'margay-bgp' },
  )
  context.out(show(found, options['output'] as Format, format => renderBfd(found, format)))
  return EXIT.fine
}

async function route([text = '']: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const prefix = parseCidr(text)
  if (prefix === undefined) throw new UsageError(`${text} is no prefix: write it such as 10.244.0.64/26`)
  const query = `prefix=${encodeURIComponent(formatCidr(prefix))}`
  const found = await ask(
    options,
    routeAnswer,
    { method: 'GET', path: `/bgp/route?${query}`, owner: 'margay-node' },
    { method: 'GET', path: `/route?${query}`, owner: 'margay-bgp' },
  )
  context.out(show(found, options['output'] as Format, format => renderRoute(found, format)))
  return found.candidates.some(({ best }) => best) ? EXIT.fine : EXIT.no
}

async function clear([peer = '']: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const { softIn, softOut } = options
  if (softIn === true && softOut === true) throw new UsageError('give --soft-in or --soft-out, not both')
  const kind = softIn === true ? 'soft-in' : softOut === true ? 'soft-out' : 'hard'
  const body = { peer, kind }
  const found = await ask(options, clearAnswer, { method: 'POST', path: '/clear', owner: 'margay-bgp', body })
  context.out(show(found, options['output'] as Format, () => `peer ${peer} ${CLEARED[kind]}\n`))
  return EXIT.fine
}

const CLEARED = {
  hard: 'reset',
  'soft-in': 'is asked for its routes again',
  'soft-out': 'is told all routes again',
} as const

async function reload(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const body = { dryRun: options['dryRun'] === true }
  const found = await ask(options, reloadAnswer, { method: 'POST', path: '/reload', owner: 'margay-bgp', body })
  context.out(show(found, options['output'] as Format, () => renderReload(found)))
  return EXIT.fine
}

async function dump([path = '']: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const octets = await download(options, { method: 'GET', path: '/dump', owner: 'margay-bgp' }, path)
  context.out(`${path}: ${octets} octets\n`)
  return EXIT.fine
}
