// Headless Chromium on a page of a folder: serves the folder, waits until an element of the page
// has text, and returns what the page shows.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, readFileSync, rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { delimiter, extname, join } from 'node:path';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];
const TYPES = {
  '.html': 'text/html',
  '.js': 'text/javascript',
};

/** Quiet, alone, and without the connections that it makes by itself. */
const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--disable-dev-shm-usage',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * The path of a Chromium, or null where there is none.
 *
 * @returns {string | null}
 */
export function chromium() {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  const paths = NAMES.flatMap((name) => folders.map((folder) => join(folder, name)));
  return paths.find(isExecutable) ?? null;
}

/** Added to the page: sends it here once the element has text, or what went wrong before. */
const watcher = (id) => `<script>
  const element = document.getElementById('${id}');
  const post = (seen) => void fetch('/seen', { method: 'POST', body: JSON.stringify(seen) });
  const send = () => element.textContent === '' || post(Object.fromEntries(
    [...document.querySelectorAll('[id]')].map(({ id, textContent }) => [id, textContent]),
  ));
  new MutationObserver(send).observe(element, { childList: true });
  addEventListener('error', ({ message, target }) => {
    post({ error: String(message ?? 'cannot load ' + target.src) });
  }, true);
  addEventListener('unhandledrejection', ({ reason }) => post({ error: String(reason) }));
  send();
</script>`;

function serve(folder, id) {
  let tell = () => {};
  const seen = new Promise((resolve) => {
    tell = resolve;
  });
  const server = createServer((request, response) => {
    const path = request.url === '/' ? '/index.html' : request.url;
    if (path === '/seen') {
      let body = '';
      request.on('data', (chunk) => {
        body += chunk;
      });
      request.on('end', () => {
        response.end();
        tell(JSON.parse(body));
      });
      return;
    }
    try {
      const file = readFileSync(join(folder, path), 'utf8');
      response.setHeader('Content-Type', TYPES[extname(path)] ?? 'application/octet-stream');
      response.end(
        path === '/index.html' ? file.replace('</body>', `${watcher(id)}</body>`) : file,
      );
    } catch {
      response.writeHead(404).end();
    }
  });
  return { server, seen };
}

/**
 * The text of every element with an id, once the element `id` has some; or `error` alone.
 *
 * @param {string} path of Chromium
 * @param {string} folder with an index.html
 * @param {string} id
 * @returns {Promise<Readonly<Record<string, string>>>}
 */
export async function look(path, folder, id) {
  const { server, seen } = serve(folder, id);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  const profile = await mkdtemp(join(tmpdir(), 'cloister-chromium-'));
  const child = spawn(path, [...FLAGS, `--user-data-dir=${profile}`, `http://127.0.0.1:${port}/`], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let errors = '';
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  const closed = once(child, 'close');
  try {
    const early = closed.then(([status]) => {
      throw new Error(`Chromium ended with status ${status}: ${errors.slice(-2000)}`);
    });
    return await Promise.race([seen, early]);
  } finally {
    // Its other processes end with it.
    child.kill();
    await closed.catch(() => {});
    server.closeAllConnections();
    server.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 40, retryDelay: 100 });
  }
}
