// Refusals that more than one part of the allocator gives, in the same words.
import type { AssignRefusal } from './port.ts'

export function addressTaken(message: string): AssignRefusal {
  return { refused: 'address-taken', message, remedy: 'ask for another address, or for none' }
}

export function unreachable(message: string): AssignRefusal {
  return {
    refused: 'unreachable',
    message,
    remedy: 'a new block needs the API server: check that this node reaches it and may create IPAMBlocks',
  }
}

/** `pool`: the one that may be for the namespace. */
export function namespaceUnknown(namespace: string, pool: string): AssignRefusal {
  return {
    refused: 'unreachable',
    message: `nothing is known yet of namespace ${namespace}, for which IPPool ${pool} may be`,
    remedy:
      'the runtime asks again; if it stays so, check that this node reaches the API server and the namespace is there',
  }
}
