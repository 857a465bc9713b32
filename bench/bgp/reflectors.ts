// `npm run bench:reflectors`: how long until thousands of clients have the blocks of all others from their route reflectors, what
// the reflectors take, and what is lost when one of them leaves. In one process and without sockets; needs no root.
import { parseArgs } from 'node:util'
import { fromArguments, HELP_OPTION, WrongUsage } from '../usage.ts'
import { reflected } from './reflected.ts'

const HELP = `Usage: npm run bench:reflectors [-- [--clients N] [--reflectors N] [--json]]

  --clients N     default 5000
  --reflectors N  default 2; of which one leaves
  --json          all values as JSON
  --help          this text
`

/** Blocks are numbered in 10.128.0.0/9. */
const MOST = 100_000

async function main({
  clients,
  reflectors,
  json,
}: {
  clients: number
  reflectors: number
  json: boolean
}): Promise<void> {
  const startMs = process.cpuUsage()
  const found = await reflected({ clients, reflectors })
  const { user, system } = process.cpuUsage(startMs)
  const cpuSeconds = (user + system) / 1e6
  if (json) {
    process.stdout.write(`${JSON.stringify({ clients, reflectors, cpuSeconds, ...found })}\n`)
    return
  }
  const mib = (octets: number) => `${Math.round(octets / 2 ** 20)} MiB`
  process.stdout.write(
    [
      `${clients} clients, ${reflectors} reflectors`,
      `all have all: ${(found.allMs / 1000).toFixed(1)} s; with set-up and the end ${cpuSeconds.toFixed(1)} s of CPU`,
      `memory of all in one process: peak ${mib(found.residentOctets)}, kept ${mib(found.keptOctets)}`,
      `one reflector leaves: known after ${Math.round(found.leftMs)} ms, ${found.lost} routes lost, ${found.withdrawn} withdrawals`,
      '',
    ].join('\n'),
  )
}

const request = fromArguments(HELP, () => {
  const { values } = parseArgs({
    options: {
      clients: { type: 'string', default: '5000' },
      reflectors: { type: 'string', default: '2' },
      json: { type: 'boolean', default: false },
      ...HELP_OPTION,
    },
  })
  const number = (name: 'clients' | 'reflectors', least: number, most: number): number => {
    const value = Number(values[name])
    if (Number.isInteger(value) && value >= least && value <= most) return value
    throw new WrongUsage(`--${name} ${values[name]}: give a number from ${least} to ${most}`)
  }
  return { ...values, clients: number('clients', 2, MOST), reflectors: number('reflectors', 2, 16) }
})
await main(request)
