// Whether what is installed is what package-lock.json asks for. npm leaves a copy of the lock file
// in node_modules as the last step of an installation, so an interrupted or outdated one shows as
// a difference between the two.

/**
 * The first difference between the `packages` tables of the two lock files, in words, or
 * undefined. Platform packages may be absent; a workspace's own folder is not installed.
 */
export function installDifference(wanted, installed) {
  for (const [path, { version, optional, link }] of Object.entries(wanted)) {
    if (!path.startsWith('node_modules/') && !path.includes('/node_modules/')) continue;
    const present = installed[path];
    if (present === undefined && !optional) return `${path} is not installed`;
    if (present !== undefined && !link && present.version !== version) {
      return `${path} is ${present.version}, package-lock.json has ${version}`;
    }
  }
  return undefined;
}
