// Profiles: what is asked when no tier decided. Nobody writes them: each namespace has one that allows all, each service account
// one that says nothing, as in Calico, and host endpoints may name one that allows all. Pure.
import type { PolicyRule, Profile } from '../../../felix/policy/model.ts'

const ALLOW_ALL: readonly PolicyRule[] = [{ action: 'allow', source: {}, destination: {} }]

/** The profile of a namespace, and the one that every cluster has. */
export const ALLOWING_PROFILE: Profile = { ingress: ALLOW_ALL, egress: ALLOW_ALL }

/** The profile of a service account. */
export const SILENT_PROFILE: Profile = { ingress: [], egress: [] }

/** The profile that every cluster has, which host endpoints may name. */
export const DEFAULT_ALLOW = 'projectcalico-default-allow'
