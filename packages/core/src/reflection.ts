/**
 * `Reflect.getMetadata`, which tsyringe asks for while it is imported. A file of its own in the
 * build: bundlers run the files of a package in the order of its imports, but what one file imports
 * from elsewhere in an order of their own.
 */
import 'reflect-metadata';

/** Whether it is there. Named by whoever needs it, so that no bundler leaves it out. */
export function isReflective(): boolean {
  return 'getMetadata' in Reflect;
}
