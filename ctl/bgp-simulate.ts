// `bgp simulate`: a cluster and the routers around it on paper. What it does is loaded when it is called: it is most of an agent.
import { type Command, outputOption } from './command.ts'
import { targetOptions } from './targets.ts'

export const bgpSimulateCommand: Command = {
  name: 'bgp simulate',
  summary:
    'Run the BGP of a cluster on paper, from a file with its objects and the routers around it (docs/bgp-simulate.md): what each node would route and why, what is wrong, and with --without, --each or --each-link what breaks when something goes; asks no server; exit code 1 when something is wrong, or a loss cuts a node off',
  arguments: [],
  options: [
    ...targetOptions,
    { flags: '--node <name>', summary: 'only the routes of this node; may be repeated', repeated: true },
    { flags: '--prefix <cidr>', summary: 'only the routes to this prefix' },
    {
      flags: '--without <what>',
      summary:
        'what changes without a node, a router, a link (its CIDR) or one end of a link (NAME@CIDR); repeated: without all of them',
      repeated: true,
    },
    { flags: '--each', summary: 'whom the loss of each router, and of each node that passes routes on, cuts off' },
    { flags: '--each-link', summary: 'the same for each link (its CIDR)' },
    outputOption,
  ],
  run: async (_, options, context) => (await import('./bgp-simulate-run.ts')).simulateFiles(options, context),
}
