// The program of BFD's thread (`margay/bgp/bfd-worker`): the sessions of bgp/ and the sockets of kernel/.
import { parentPort } from 'node:worker_threads'
import { serveBfd } from '../bgp/bfd/serve.ts'
import { openReceiver, openSender } from '../kernel/datagrams.ts'
import { interfaceName } from '../kernel/libc.ts'

serveBfd(parentPort!, { receiver: openReceiver, sender: openSender, interfaceName })
