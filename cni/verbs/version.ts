// VERSION: what we speak. Answers in the version it was asked in, as the specification has it.
import type { VersionRequest } from '../request.ts'
import { CNI_VERSIONS } from '../result.ts'

export function version({ cniVersion }: VersionRequest): string {
  return JSON.stringify({ cniVersion, supportedVersions: CNI_VERSIONS })
}
