// The program of BFD's thread (`margay/bgp/bfd-worker`): the sessions of bgp/ and the sockets of kernel/.
import { constants, setPriority } from 'node:os'
import { parentPort } from 'node:worker_threads'
import { serveBfd } from '../bgp/bfd/serve.ts'
import { openReceiver, openSender } from '../kernel/datagrams.ts'
import { interfaceName } from '../kernel/libc.ts'

hurry()
serveBfd(parentPort!, { receiver: openReceiver, sender: openSender, interfaceName })

/** On a busy machine this thread comes before others, where the process has CAP_SYS_NICE: Linux sets this thread's alone. */
function hurry(): void {
  try {
    setPriority(constants.priority.PRIORITY_HIGH)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ERR_SYSTEM_ERROR')) throw error
  }
}
