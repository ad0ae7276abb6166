/**
 * What travels between interrupt sources and local APICs.
 *
 * Source: PCI Local Bus 3.0, 6.8.1 and Intel SDM vol. 3, 11.11 (MSI address and data);
 * AMD APM vol. 2, 16.5 (ICR). MSIs of this form are what an IOAPIC sends, too.
 */

export interface ApicMessage {
  /** Delivery mode, `MODE_*`. */
  mode: number;
  vector: number;
  /** 8-bit (xAPIC, devices) or 32-bit (x2APIC) destination. */
  destination: number;
  logical: boolean;
  /** Level-triggered: EOI of the vector is broadcast. */
  level: boolean;
}

/** Top 12 bits of an address that is a message and not memory. */
const MSI_REGION = 0xfee;

/** The message of a write of `data` to `address`; null when that is no message address. */
export function messageOfMsi(address: number, data: number): ApicMessage | null {
  if (Math.floor(address / 0x100000) !== MSI_REGION) return null;
  const low = address >>> 0;
  const mode = (data >>> 8) & 7;
  // A redirection hint asks for any one of the destinations, whatever mode the data names.
  const hint = (low & 8) !== 0 && mode === 0;
  return {
    mode: hint ? 1 : mode,
    vector: data & 0xff,
    destination: (low >>> 12) & 0xff,
    logical: (low & 4) !== 0,
    level: (data & 0x8000) !== 0,
  };
}
