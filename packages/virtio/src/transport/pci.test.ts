// virtio-pci: the function's configuration, MSI-X masking, the configuration window; the bridge.
import type { Device, IoExit } from '@cloister/core';
import { deviceKit, FakeClock } from '@cloister/core/testing';
import { describe, expect, it } from 'vitest';
import { STATUS_DRIVER_OK } from '../device/features.js';
import { CONFIG_ADDRESS, PciHost, WINDOW_BASE } from '../pci/pci-host.js';
import { EchoModel } from '../testing/echo-model.js';
import { FakeRam } from '../testing/fake-ram.js';
import { type PciTransport, pciRig } from '../testing/pci-driver.js';
import { BAR, pciDevice, type VirtioPciFunction } from './pci.js';

function rig() {
  const made = pciRig(new EchoModel(2, 16));
  const transport = made.driver.transport as PciTransport;
  return { ...made, transport, pci: transport.device };
}

/** A dword access to CONFIG_ADDRESS as an exit. */
function access(host: PciHost, direction: 'in' | 'out', value = 0, size = 4): number | null {
  const data = new Uint8Array(4);
  new DataView(data.buffer).setUint32(0, value, true);
  const exit = { kind: 'io', direction, port: CONFIG_ADDRESS, size, count: 1, data };
  if (!host.accessAddress(exit as unknown as IoExit)) return null;
  return new DataView(data.buffer).getUint32(0, true);
}

function bridge(devices = 2) {
  const host = new PciHost();
  const functions: VirtioPciFunction[] = [];
  for (let index = 0; index < devices; index++) {
    const ports = { dma: new FakeRam(65_536), clock: new FakeClock(), sendMsi() {} };
    const device = pciDevice(new EchoModel(1))(ports);
    if (host.add(device)) functions.push(device);
  }
  const select = (device: number, register: number, fn = 0) =>
    access(host, 'out', 0x8000_0000 + device * 0x800 + fn * 0x100 + register);
  return { host, functions, select };
}

describe('a virtio PCI function', () => {
  it('is a modern device of its type', () => {
    const { pci } = rig();
    expect(pci.readConfig(0, 4)).toBe(0x1af4 + (0x1040 + 63) * 0x10000);
    expect(pci.readConfig(8, 1)).toBeGreaterThanOrEqual(1);
    expect(pci.readConfig(0x3d, 1)).toBe(0);
  });

  it('tells the size of its BAR and moves with it', () => {
    const { pci } = rig();
    pci.writeConfig(0x10, 4, 0xffffffff);
    expect(pci.readConfig(0x10, 4)).toBe(2 ** 32 - BAR.size);
    pci.writeConfig(0x10, 4, 0xe123_8000);
    expect(pci.config.memory).toBe(0xe123_8000);
    pci.writeConfig(4, 2, 0);
    expect(pci.config.memory).toBe(-1);
  });

  it('keeps a masked message until it is unmasked', () => {
    const { driver, transport, pci } = rig();
    driver.start();
    const control = BAR.msixTable + 16 * 1 + 12;
    pci.writeMemory(control, 4, 1);
    driver.submit(0, [Uint8Array.of(1)], [1]);
    expect(transport.takeInterrupts().used).toBe(false);
    expect(pci.readMemory(BAR.msixPending, 4)).toBe(2);
    pci.writeMemory(control, 4, 0);
    expect(transport.takeInterrupts().used).toBe(true);
    expect(pci.readMemory(BAR.msixPending, 4)).toBe(0);
  });

  it('reaches no memory and sends no message unless it is a bus master', () => {
    const { driver, transport, pci, ram, failures } = rig();
    driver.start();
    pci.writeConfig(4, 2, 2);
    let accesses = 0;
    ram.onRead = () => accesses++;
    ram.onWrite = () => accesses++;
    driver.add(0, [Uint8Array.of(1)], [1]);
    accesses = 0;
    transport.notify(0);
    expect(accesses).toBe(0);
    expect(driver.take(0)).toBeNull();
    // It goes on by itself once it may.
    pci.writeConfig(4, 2, 6);
    expect([...driver.result(0).data]).toEqual([1]);
    expect(transport.takeInterrupts().used).toBe(true);
    expect(failures).toEqual([]);
  });

  it('answers NO_VECTOR for a vector that is not there, and sends nothing', () => {
    const { driver, transport } = rig();
    driver.start();
    transport.write(0x16, 2, 0);
    transport.write(0x1a, 2, 99);
    expect(transport.read(0x1a, 2)).toBe(0xffff);
    driver.submit(0, [Uint8Array.of(1)], [1]);
    expect(transport.takeInterrupts().used).toBe(false);
  });

  it('sets ISR while MSI-X is off, and clears it by reading', () => {
    const { driver, pci } = rig();
    driver.start();
    let at = pci.readConfig(0x34, 1);
    while (pci.readConfig(at, 1) !== 0x11) at = pci.readConfig(at + 1, 1);
    pci.writeConfig(at + 2, 2, 0);
    driver.submit(0, [Uint8Array.of(1)], [1]);
    expect(pci.readMemory(BAR.isr, 1)).toBe(1);
    expect(pci.readMemory(BAR.isr, 1)).toBe(0);
  });

  it('is reached through its configuration space too', () => {
    const { driver, pci } = rig();
    let at = pci.readConfig(0x34, 1);
    while (pci.readConfig(at, 1) !== 9 || pci.readConfig(at + 3, 1) !== 5) {
      at = pci.readConfig(at + 1, 1);
    }
    const reach = (offset: number, length: number) => {
      pci.writeConfig(at + 4, 1, 0);
      pci.writeConfig(at + 8, 4, offset);
      pci.writeConfig(at + 12, 4, length);
    };
    driver.start();
    reach(0x14, 1);
    expect(pci.readConfig(at + 16, 1) & STATUS_DRIVER_OK).toBe(STATUS_DRIVER_OK);
    pci.writeConfig(at + 16, 1, 0);
    expect(driver.transport.status()).toBe(0);
    reach(0x7fff_fff0, 4);
    expect(pci.readConfig(at + 16, 4)).toBe(0);
    pci.writeConfig(at + 16, 4, 5);
  });
});

describe('the host bridge', () => {
  it('takes whole dwords at 0xcf8 only', () => {
    const { host } = bridge();
    expect(access(host, 'out', 0xffff_ffff)).not.toBeNull();
    expect(access(host, 'in')).toBe(0x80ff_fffc);
    expect(access(host, 'out', 6, 1)).toBeNull();
  });

  it('shows itself and its functions, and ones elsewhere', () => {
    const { host, select } = bridge(2);
    const seen = Array.from({ length: 32 }, (_, device) => {
      select(device, 0);
      return host.read(0, 0, 2);
    });
    expect(seen.slice(0, 4)).toEqual([0x1b36, 0x1af4, 0x1af4, 0xffff]);
    select(0, 8);
    expect(host.read(0, 2, 2)).toBe(0x0600);
    select(1, 0, 1);
    expect(host.read(0, 0, 4)).toBe(0xffff_ffff);
    access(host, 'out', 0x800);
    expect(host.read(0, 0, 4)).toBe(0xffff_ffff);
  });

  it('leads to each BAR where the guest puts it', () => {
    const { host, functions, select } = bridge(2);
    const places = functions.map(({ config }) => config.memory);
    expect(places).toEqual([WINDOW_BASE, WINDOW_BASE + BAR.size]);
    expect(host.read(1, BAR.size + 0x12, 2)).toBe(1);
    select(2, 0x10);
    host.write(0, 0, 4, WINDOW_BASE + 0x10_0000);
    expect(host.read(1, BAR.size + 0x12, 2)).toBe(0xffff);
    expect(host.read(1, 0x10_0000 + 0x12, 2)).toBe(1);
    host.reset();
    functions[1]!.reset();
    expect(host.read(1, BAR.size + 0x12, 2)).toBe(1);
  });

  it('has 31 slots', () => {
    expect(bridge(40).functions).toHaveLength(31);
  });
});

/** Configuration and BAR of a function, as regions of a device. */
function exposed(device: VirtioPciFunction): Device {
  return {
    name: device.name,
    regions: [
      { space: 'io', base: 0, length: 256, name: 'config' },
      { space: 'mmio', base: WINDOW_BASE, length: BAR.size, name: 'bar' },
    ],
    read(region, offset, size) {
      if (region === 1) return device.readMemory(offset, size);
      return device.readConfig(offset - (offset % size), size);
    },
    write(region, offset, size, value) {
      if (region === 1) device.writeMemory(offset, size, value);
      else device.writeConfig(offset - (offset % size), size, value);
    },
    drain: () => device.drain(),
    reset: () => device.reset(),
    snapshot: () => device.snapshot(),
    restore: (snapshot) => device.restore(snapshot),
    dispose: () => device.dispose?.(),
  };
}

deviceKit(
  { describe, it },
  {
    name: 'virtio-pci',
    make: (ports) => {
      const device = pciDevice(new EchoModel(2))({
        dma: new FakeRam(65_536),
        clock: ports.clock,
        sendMsi: (address, data) => ports.note(`msi ${address} ${data}`),
      });
      device.config.placeMemory(WINDOW_BASE, BAR.size);
      device.config.seal();
      return exposed(device);
    },
    hotOffsets: [
      [4, 0x10, 0x34, 0x42, 0x60, 0x80, 0x90],
      [0, 4, 8, 12, 16, 18, 20, 22, 24, 26, 28, 32, 36, 40, 48, 0x3000, 0x3004, 0x400c, 0x401c],
    ],
  },
);

deviceKit({ describe, it }, { name: 'pci-host', make: () => bridge(3).host });
