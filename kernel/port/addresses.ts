// Addresses on links. Part of the kernel port.

/** An address on a link. `noDad` skips duplicate address detection (IPv6): an address must work at once. */
export type Address = {
  ifindex: number
  address: string
  length: number
  scope: number
  tentative?: boolean
  noDad?: boolean
}

export type AddressPort = {
  addresses(ifindex?: number): Promise<Address[]>
  addAddress(address: Address): Promise<void>
  deleteAddress(address: Address): Promise<void>
}
