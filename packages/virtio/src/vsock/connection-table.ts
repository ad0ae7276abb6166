/**
 * The connections of a vsock device: by the number that the host knows, by their ports, and those
 * that have something for the guest, in turn.
 */
import type { Connection } from './connection.js';

export class ConnectionTable {
  private readonly byId = new Map<number, Connection>();
  private readonly byPorts = new Map<string, Connection>();
  private readonly ready = new Set<Connection>();

  get size(): number {
    return this.byId.size;
  }

  /** That of the host's number. */
  get(id: number): Connection | undefined {
    return this.byId.get(id);
  }

  /** That between two ports. */
  between(guestPort: number, hostPort: number): Connection | undefined {
    return this.byPorts.get(keyOf(guestPort, hostPort));
  }

  /** The one whose turn it is to send something to the guest. */
  get next(): Connection | undefined {
    const [first] = this.ready;
    return first;
  }

  add(connection: Connection): Connection {
    this.byId.set(connection.id, connection);
    this.byPorts.set(keyOf(connection.guestPort, connection.hostPort), connection);
    return connection;
  }

  /** Notes whether a connection has something for the guest; where it has, its turn stays. */
  touch(connection: Connection): void {
    const known = this.byId.get(connection.id) === connection;
    if (known && connection.wanted() !== null) this.ready.add(connection);
    else this.ready.delete(connection);
  }

  /** It had its turn: behind the others, if it has more. */
  served(connection: Connection): void {
    this.ready.delete(connection);
    this.touch(connection);
  }

  remove(connection: Connection): void {
    this.byId.delete(connection.id);
    this.byPorts.delete(keyOf(connection.guestPort, connection.hostPort));
    this.ready.delete(connection);
  }

  clear(): void {
    this.byId.clear();
    this.byPorts.clear();
    this.ready.clear();
  }
}

function keyOf(guestPort: number, hostPort: number): string {
  return `${guestPort}:${hostPort}`;
}
