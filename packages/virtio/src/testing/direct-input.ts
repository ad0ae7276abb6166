/**
 * An input port for tests of one device: hands over at once what is pushed, as a machine does that
 * executes nothing in between.
 */
import { type InputPort, type InputSource, VmmError } from '@cloister/core';

export class DirectInput implements InputPort {
  live = false;
  replaying = false;
  recording = false;
  source(name: string, deliver: (data: Uint8Array) => void): InputSource {
    return {
      name,
      push: (data) => {
        deliver(data);
        return true;
      },
      onRoom: () => {},
      setLive: () => {},
      hold: () => {},
      stall: () => {},
    };
  }
  snapshot(): never {
    throw new VmmError('unsupported', 'a test saves no input');
  }
  restore(): void {}
}
