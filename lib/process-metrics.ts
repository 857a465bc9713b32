// What the system knows of this process, as metrics under the names that every program has for Prometheus.
import { readdirSync } from 'node:fs'
import { calico, counter, gauge, MetricsText } from './metrics-text.ts'

export const PROCESS_METRICS = {
  process_cpu_seconds_total: calico(
    counter('Processor time of this program, of user and system together, in seconds.'),
  ),
  process_resident_memory_bytes: calico(gauge('Resident memory of this program.')),
  process_start_time_seconds: calico(gauge('When this program started, in seconds since 1970.')),
  process_open_fds: calico(gauge('Open file descriptors of this program.')),
  nodejs_heap_size_used_bytes: gauge(
    'Memory of this program in live JavaScript objects, and in those that were not collected yet.',
  ),
}

/** The text that a scraper reads. Without /proc, or a descriptor to read it with, one metric is left out. */
export function processText(): string {
  const text = new MetricsText(PROCESS_METRICS)
  const { user, system } = process.cpuUsage()
  const { rss, heapUsed } = process.memoryUsage()
  text.set('process_cpu_seconds_total', (user + system) / 1e6)
  text.set('process_resident_memory_bytes', rss)
  text.set('process_start_time_seconds', performance.timeOrigin / 1000)
  text.set('nodejs_heap_size_used_bytes', heapUsed)
  const files = openFiles()
  if (files !== undefined) text.set('process_open_fds', files)
  return text.toString()
}

function openFiles(): number | undefined {
  try {
    return readdirSync('/proc/self/fd').length - 1 // without the folder itself
  } catch {
    return undefined
  }
}
