/**
 * An extension's say in where pages lie: the request and the verdict of `CpuExtension.fill`, for
 * one vCPU, without an allocation for each.
 */
import type { CpuExtension, ExtensionException, ExtensionVcpu, FillRequest } from '@cloister/core';

/** What `ask` answers where an exception is due in place of the access. */
export const POLICY_EXCEPTION = -3;

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

export class FillPolicy {
  // The last verdict.
  gpa = 0;
  permissions = 0;
  keyTag = 0;
  exception: ExtensionException | null = null;
  private readonly fill: NonNullable<CpuExtension['fill']>;
  private readonly request: Writable<FillRequest>;

  constructor(
    extension: CpuExtension,
    private readonly vcpu: ExtensionVcpu,
  ) {
    this.fill = extension.fill!.bind(extension);
    this.request = {
      gpaLo: 0,
      gpaHi: 0,
      access: 'read',
      user: false,
      linearLo: 0,
      linearHi: 0,
      implicit: false,
      vcpu: vcpu.index,
      context: vcpu.context,
    };
  }

  /** The linear address that what is asked next is for. */
  at(lo: number, hi: number): void {
    this.request.linearLo = lo >>> 0;
    this.request.linearHi = hi >>> 0;
  }

  /** System-physical address of a page, -1 (no memory at `gpa`) or POLICY_EXCEPTION. */
  ask(
    gpaLo: number,
    gpaHi: number,
    access: FillRequest['access'],
    user: boolean,
    implicit: boolean,
  ): number {
    const { request } = this;
    request.gpaLo = gpaLo >>> 0;
    request.gpaHi = gpaHi >>> 0;
    request.access = access;
    request.user = user;
    request.implicit = implicit;
    request.context = this.vcpu.context;
    const verdict = this.fill(request, this.vcpu);
    switch (verdict.kind) {
      case 'page':
        this.gpa = verdict.gpa;
        this.permissions = verdict.permissions;
        this.keyTag = verdict.keyTag;
        return verdict.spa;
      case 'device':
        this.gpa = verdict.gpa;
        return -1;
      case 'exception':
        this.exception = verdict.exception;
        return POLICY_EXCEPTION;
    }
  }
}
