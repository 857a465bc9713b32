// What the kernel says about a process (proc(5)): processor time and the most memory it ever had.
import { readdirSync, readFileSync } from 'node:fs'

/** Clock ticks per second in /proc, fixed on every Linux that Node runs on. */
const TICKS = 100

/** Seconds of user and system time since the process began, all threads, to 10 ms. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS
}

/** MiB of memory: `VmHWM` is the peak so far, `VmRSS` what is resident now, `Pss` that with its share of what others have too. */
export function memoryMib(pid: number, field: 'VmHWM' | 'VmRSS' | 'Pss'): number {
  const file = field === 'Pss' ? 'smaps_rollup' : 'status'
  const found = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/${file}`, 'utf8'))
  if (found === null) throw new Error(`process ${pid} tells no ${field}`)
  return Number(found[1]) / 1024
}

/** Nanoseconds of processor time of the threads that live now: for differences much smaller than a tick. */
export function cpuNanoseconds(pid: number): number {
  return readdirSync(`/proc/${pid}/task`)
    .map(thread => Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]))
    .reduce((sum, ns) => sum + ns, 0)
}
