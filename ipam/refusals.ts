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
