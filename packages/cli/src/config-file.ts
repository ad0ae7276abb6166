/**
 * The configuration file: JSON, checked against schema/vm.schema.json (shipped, for editors too).
 * An error names the path of the wrong field, e.g. `plugins[0].module`.
 */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { VmmError } from '@cloister/core';
import type { ErrorObject } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { fileError } from './error-report.js';
import type { OptionSource, RawOptions } from './run-options.js';

/** Beside src and dist alike. */
const SCHEMA = new URL('../schema/vm.schema.json', import.meta.url);

export function loadConfig(path: string): OptionSource {
  const folder = dirname(resolve(path));
  return {
    raw: parseConfig(readText(path), path),
    code: 'invalid-config',
    nameOf: (field) => field,
    resolvePath: (value) => resolve(folder, value),
    folder,
  };
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw fileError('configuration', path, error);
  }
}

/** Checks `text`; `name` is how errors call the file. */
export function parseConfig(text: string, name: string): RawOptions {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const message = `${JSON.stringify(name)} is not JSON: ${(cause as Error).message}`;
    throw new VmmError('invalid-config', message, { cause });
  }
  const validate = new Ajv2020({ verbose: true, allowUnionTypes: true }).compile<RawOptions>(
    JSON.parse(readFileSync(SCHEMA, 'utf8')),
  );
  if (validate(value)) return value;
  throw explain(validate.errors ?? [], name);
}

function explain(errors: readonly ErrorObject[], name: string): VmmError {
  // The innermost error says most: alternatives of a `oneOf` come before the `oneOf` itself.
  const deepest = [...errors].sort((a, b) => depth(b) - depth(a))[0]!;
  const alternatives = errors.find((each) => each.keyword === 'oneOf');
  const error = alternatives && depth(alternatives) >= depth(deepest) ? alternatives : deepest;
  const path = fieldPath(error.instancePath) || JSON.stringify(name);
  return new VmmError('invalid-config', reason(error), { path });
}

const depth = (error: ErrorObject): number => error.instancePath.split('/').length;

/** `/plugins/0/module` as `plugins[0].module`. */
function fieldPath(pointer: string): string {
  return pointer
    .split('/')
    .slice(1)
    .map((part) => part.replace(/~1/g, '/').replace(/~0/g, '~'))
    .map((part) => (/^\d+$/.test(part) ? `[${part}]` : `.${part}`))
    .join('')
    .replace(/^\./, '');
}

function reason(error: ErrorObject): string {
  const params = error.params as Record<string, unknown>;
  const shown = JSON.stringify(error.data) ?? 'nothing';
  const value = shown.length > 60 ? `${shown.slice(0, 57)}...` : shown;
  switch (error.keyword) {
    case 'additionalProperties':
      return `unknown field ${JSON.stringify(params['additionalProperty'])}`;
    case 'enum':
      return `${value} is not one of ${(params['allowedValues'] as unknown[]).join(', ')}`;
    case 'type':
      return `${value} is not of type ${[params['type']].flat().join(' or ')}`;
    case 'oneOf':
      return `${value} is not ${EXPECTED[schemaName(error)] ?? 'one of the allowed forms'}`;
    default:
      return `${value} ${error.message ?? 'is not allowed'}`;
  }
}

const EXPECTED: Readonly<Record<string, string>> = {
  size: 'a size such as 256M, 1G or a number of bytes',
  address: 'a whole number (or a string with one in decimal or 0x form)',
};

/** `#/$defs/size/oneOf` is `size`. */
function schemaName(error: ErrorObject): string {
  const parts = error.schemaPath.split('/');
  return parts[2] ?? '';
}
