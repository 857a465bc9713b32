// `margay-node install`: what an operator or a DaemonSet's init container runs once per node, before the agent.
import { ForeignNetwork, type InstallOptions, installPlugin } from '../cni/install.ts'
import type { FileLabels } from '../cni/runtime-files.ts'
import { readLabel, writeLabel } from '../kernel/file-label.ts'
import { KernelError } from '../kernel/port/error.ts'

export type InstallFlags = Omit<InstallOptions, 'labels'>

/** Prints the paths of what is there now. Ends the process with 1 where another network is, 3 when files cannot be written. */
export function install(flags: InstallFlags): void {
  try {
    const { plugin, conf, leftOut, removed } = installPlugin({ ...flags, labels })
    console.log(plugin)
    if (conf !== undefined) console.log(conf)
    for (const path of removed) console.error(`${path}, our configuration under an older name, is removed`)
    for (const name of leftOut)
      console.error(`${name} is not chained: it speaks no version of CNI that this network does; install a newer one`)
  } catch (error) {
    if (error instanceof ForeignNetwork) {
      console.error(`nothing was installed: ${error.message}`)
      process.exit(1)
    }
    console.error(`the plugin was not installed: ${(error as Error).message}; is the directory writable? are you root?`)
    process.exit(3)
  }
}

/** A label that may not be set is told: SELinux may keep the runtime from the file, and its rule may as well be right. */
const labels: FileLabels = {
  read: readLabel,
  write: (path, label) => {
    try {
      writeLabel(path, label)
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
      console.error(`the label of the file before is lost: ${error.message}; restorecon gives it the one of the policy`)
    }
  },
}
