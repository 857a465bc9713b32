// What the recorder of a node keeps beside events: every change of what is routed, addressed and judged there. A record has the form
// of an event, so that both are one list: its type says what became of the object, its reason what made it so, and its message how
// the object is now and who did it, where that is known. Types and causes are closed tables.
import type { Event, EventType, ObjectRef } from './status.ts'

export const CHANGE_TYPES = {
  Came: 'it was not there before',
  Changed: 'it is another way than before',
  Went: 'it is not there any more',
  Learned: 'BGP has a way to it, or another one than before; the kernel is told apart from that',
  Withdrawn: 'BGP has no way to it any more',
  Summed: 'so many more changes of one kind and cause, of which there were too many to keep each; the name is `*`',
  Lost: 'so many records were not kept: the disk was full or failed',
} as const satisfies Record<string, string>

export type ChangeType = keyof typeof CHANGE_TYPES

/** What made a change: the agent for one of the first reasons, or somebody else. */
export const CHANGE_CAUSES = {
  pod: 'a pod of this node came, changed or went',
  block: 'blocks of this node came or went',
  learned: 'what BGP learned changed',
  policy: 'policies, or the labels that they ask for, changed',
  cluster: 'an object of the cluster that is not of one pod changed: a pool, a node, a Service, a setting',
  foreign: 'another program of this node, which the message names where the kernel tells it',
  kernel: 'the kernel by itself, or a program that it does not name',
  recorder: 'the recorder itself',
} as const satisfies Record<string, string>

export type ChangeCause = keyof typeof CHANGE_CAUSES

/** One change without its time: `kind` and `cause` tell floods apart, the rest is asked for only where it is kept. */
export type Change = {
  type: ChangeType
  kind: ObjectRef['kind']
  cause: ChangeCause
  /** Never a secret, nor the value of an annotation. `text`: how it is now, and who did it. */
  about: () => { name: string; namespace?: string; text?: string }
}

/** What the recorder keeps. `seq` counts all records of a node in the order in which things happened, whatever its clock said. */
export type Recorded = Omit<Event, 'type'> & { seq: number; type: EventType | ChangeType }
