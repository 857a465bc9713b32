// The lock of the datastore, as Calico has it: a field of the ClusterInformation `default`.
import { isObject } from './merge-patch.ts'

/** The lock in words, for messages. */
export const LOCK_SAYS = 'datastoreReady of the ClusterInformation default is false'

/** Whether a ClusterInformation, as far as there is one, says that the datastore is locked. */
export function isLocked(object: { spec?: unknown } | undefined): boolean {
  return isObject(object?.spec) && object.spec['datastoreReady'] === false
}
