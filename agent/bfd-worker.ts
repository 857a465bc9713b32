// The program of BFD's thread (`margay/bgp/bfd-worker`): the sessions of bgp/ and the sockets of kernel/. On a busy machine this
// thread alone comes before others, where the process has CAP_SYS_NICE: niceness counts within one group of processes, such as a
// container, and real time counts on the machine. A kernel that shares real time out between groups may refuse it to all but the first.
import { constants, setPriority } from 'node:os'
import { parentPort } from 'node:worker_threads'
import type { Scheduling } from '../bgp/bfd/config.ts'
import { serveBfd } from '../bgp/bfd/serve.ts'
import { openReceiver, openSender } from '../kernel/datagrams.ts'
import { interfaceName, runInRealTime } from '../kernel/libc.ts'
import { KernelError } from '../kernel/port/error.ts'

serveBfd(parentPort!, { receiver: openReceiver, sender: openSender, interfaceName }, hurry())

function hurry(): Scheduling {
  try {
    runInRealTime()
    return 'real-time'
  } catch (error) {
    if (!(error instanceof KernelError)) throw error
  }
  try {
    setPriority(constants.priority.PRIORITY_HIGH) // of this thread alone on Linux
    return 'raised'
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ERR_SYSTEM_ERROR')) throw error
    return 'usual'
  }
}
