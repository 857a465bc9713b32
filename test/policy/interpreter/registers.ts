// The registers of the kernel's nftables: 64 octets, read as 4 of 16 (numbers 1 to 4) or 16 of 4 (numbers 8 to 23). What is
// loaded fills up with zeros to a multiple of 4. To read what the same rule has not loaded is a fault of the rule.

const LENGTH = 64

export class Registers {
  readonly #octets = new Uint8Array(LENGTH)
  readonly #isLoaded = new Array<boolean>(LENGTH).fill(false)

  /** Before each rule: what rules before it loaded is not for it. */
  forget(): void {
    this.#isLoaded.fill(false)
  }

  load(register: number, octets: Uint8Array): void {
    const at = offsetOf(register)
    const end = at + ((octets.length + 3) & ~3)
    if (end > LENGTH) throw new Error(`${octets.length} octets do not fit into register ${register}`)
    this.#octets.fill(0, at, end)
    this.#octets.set(octets, at)
    this.#isLoaded.fill(true, at, end)
  }

  read(register: number, length: number): Uint8Array {
    const at = offsetOf(register)
    if (at + length > LENGTH) throw new Error(`register ${register} has no ${length} octets`)
    if (this.#isLoaded.slice(at, at + length).includes(false))
      throw new Error(`a rule reads ${length} octets of register ${register} and has not loaded them`)
    return this.#octets.slice(at, at + length)
  }
}

function offsetOf(register: number): number {
  if (register >= 1 && register <= 4) return 16 * (register - 1)
  if (register >= 8 && register <= 23) return 4 * (register - 8)
  throw new Error(`no register for data: ${register}`)
}
