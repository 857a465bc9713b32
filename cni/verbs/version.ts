// VERSION: the supported versions. The answer has the version of the request, as the specification says.
import type { VersionRequest } from '../request.ts'
import { CNI_VERSIONS } from '../result.ts'

export function version({ cniVersion }: VersionRequest): string {
  return JSON.stringify({ cniVersion, supportedVersions: CNI_VERSIONS })
}
