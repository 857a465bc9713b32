import test from 'ava'
import { metricsPage } from '../../agent/status/metrics-page.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import { someNumbers } from './status/numbers.ts'

test('where the kernel does not tell what rules counted, all other metrics are told', async t => {
  const page = await metricsPage(
    {
      numbers: someNumbers,
      droppedPackets: async () => new Map([['redirect', 2]]),
      ruleCounts: () => Promise.reject(new KernelError(ERRNO.ENOBUFS, 'list', 'rules')),
    },
    { ofProcess: false },
  )
  t.regex(page, /^margay_ready /m)
  t.regex(page, /reason="redirect"\} 2$/m)
})
