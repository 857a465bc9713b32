// Hears of settings that other processes write, where that may be: without it they are looked at every ten seconds.
import { KernelError } from '../kernel/port/error.ts'
import type { SettingNews, SettingWatch, SettingWatchPort } from '../kernel/port/sysctls.ts'
import type { Log } from '../lib/log.ts'

/** As `SettingWatchPort.watchSettings`; undefined where the kernel, or a lack of rights, does not let us. A failed `renew` leaves it as it is. */
export function watchSettings(
  kernel: SettingWatchPort,
  log: Log,
  listen: (news: SettingNews | undefined) => void,
): SettingWatch | undefined {
  try {
    const watch = kernel.watchSettings(listen)
    const renew = () => {
      try {
        watch.renew()
      } catch (error) {
        if (!(error instanceof KernelError)) throw error
      }
    }
    return { ...watch, renew }
  } catch (error) {
    if (!(error instanceof KernelError)) throw error
    log.info({ err: error }, 'nothing tells who writes settings; they are looked at every ten seconds')
    return undefined
  }
}
