// Pages in a real browser that use the bundle of npm's centrifuge: node browser.js NODE_FOLDER.
//
// Starts one Chromium for all pages, listens on a port of 127.0.0.1 and prints {"port": N} when both are up. Each connection to that
// port is one page and speaks as realtime.js does; its first line says, too, on which port the page itself is to be served. What is
// said is typed into the page's field, and what is heard is read back from its list: nothing goes around the page.
// Ends, and the browser with it, when its standard input does.
const [folder] = process.argv.slice(2);
const { spawn } = require('node:child_process');
const { accessSync, constants, mkdtempSync, readFileSync, rmSync } = require('node:fs');
const { createServer } = require('node:http');
const net = require('node:net');
const { tmpdir } = require('node:os');
const path = require('node:path');
const eachLine = require('./lines.js');
const { chromium } = require('node:module').createRequire(folder + '/')('playwright-core');

// The first has no windows and starts several times quicker; the other brings the same engine.
const PROGRAMS = ['chromium-headless-shell', 'chromium'];
const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
  // Chromium looks up hosts of its maker all the same, and where name servers do not answer it comes up only after those looks have
  // timed out, a quarter of a minute later. No page of ours needs a name.
  '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1',
];
const FILES = {
  '/': ['text/html', readFileSync(path.join(__dirname, 'browser.html'))],
  '/centrifuge.js': ['text/javascript', readFileSync(path.join(folder, 'node_modules/centrifuge/dist/centrifuge.js'))],
};

const fail = (why) => { console.error(why); process.exit(1); };

function program() {
  for (const name of PROGRAMS) {
    for (const place of (process.env.PATH ?? '').split(path.delimiter)) {
      try {
        accessSync(path.join(place, name), constants.X_OK);
        return name;
      } catch {}
    }
  }
  return fail(`none of these is installed: ${PROGRAMS.join(', ')}`);
}

// Starts the browser, which lives as long as this process has an input.
async function start() {
  const profile = mkdtempSync(path.join(tmpdir(), 'roomhook-browser-'));
  // Everything that it writes goes where it is removed again.
  const env = { ...process.env, HOME: profile, XDG_CONFIG_HOME: profile, XDG_CACHE_HOME: profile };
  const flags = [...FLAGS, '--remote-debugging-port=0', `--user-data-dir=${profile}`];
  // In a process group of its own: what Debian installs under this name is a script that stays in front of the browser, and a signal
  // to it alone would leave the browser behind.
  const child = spawn(program(), flags, { env, stdio: ['ignore', 'ignore', 'pipe'], detached: true });
  const signal = (name) => { try { process.kill(-child.pid, name); } catch {} };
  // An orderly end, so that its helpers do not write any more after it; an end of its own must not leave anybody waiting.
  let said = '';
  let wanted = false;
  child.on('error', (error) => fail(`cannot start the browser: ${error.message}`));
  child.on('exit', (code) => {
    signal('SIGKILL');
    rmSync(profile, { recursive: true, force: true, maxRetries: 50, retryDelay: 100 });
    if (wanted) process.exit(0);
    fail(`the browser ended with ${code}: ${said}`);
  });
  process.stdin.on('end', () => {
    wanted = true;
    signal('SIGTERM');
    setTimeout(() => signal('SIGKILL'), 5000);
  }).resume();
  const endpoint = await new Promise((resolve) => {
    child.stderr.on('data', (more) => {
      said = (said + more).slice(-10_000);
      const found = /DevTools listening on (ws:\S+)/.exec(said);
      if (found) resolve(found[1]);
    });
  });
  return await chromium.connectOverCDP(endpoint);
}

// Serves the page's files on this port.
const serve = (port) => new Promise((resolve, reject) => {
  const server = createServer((request, response) => {
    const [type, body] = FILES[request.url] ?? ['text/plain', ''];
    response.writeHead(body === '' ? 404 : 200, { 'Content-Type': type }).end(body);
  });
  server.on('error', reject).listen(port, '127.0.0.1', () => resolve(server));
});

const commands = {
  connect: (page) => page.evaluate(() => client.connect()),
  subscribe: (page, { channel }) => page.evaluate((channel) => enter(channel), channel),
  say: async (page, { text }) => {
    await page.fill('#say', text);
    await page.press('#say', 'Enter');
  },
  heard: (page) => page.locator('#heard li').allTextContents(),
};

async function open(browser, how, tell) {
  const server = await serve(how.page);
  const page = await (await browser.newContext()).newPage();
  page.on('close', () => server.close());
  page.on('pageerror', (error) => tell({ event: 'page_error', message: error.message }));
  await page.exposeFunction('tell', tell);
  await page.goto(`http://127.0.0.1:${how.page}/`);
  await page.evaluate((how) => open_client(how), how);
  tell({ event: 'opened' });
  return page;
}

// One connection, one page, which is closed with it.
function attend(browser, socket) {
  const tell = (line) => socket.write(JSON.stringify(line) + '\n');
  let page;
  socket.on('error', () => {});
  socket.on('close', () => page?.then((page) => page.context().close()).catch(() => {}));
  eachLine(socket, async (text) => {
    const command = JSON.parse(text);
    if (page === undefined) {
      page = open(browser, command, tell);
      page.catch((error) => { console.error(error); socket.destroy(); });
      return;
    }
    try {
      tell({ answer: command.id, ok: (await commands[command.do](await page, command)) ?? null });
    } catch (error) {
      tell({ answer: command.id, error: { code: 0, message: error.message } });
    }
  });
}

start().then((browser) => {
  const listener = net.createServer((socket) => attend(browser, socket));
  listener.listen(0, '127.0.0.1', () => process.stdout.write(JSON.stringify({ port: listener.address().port }) + '\n'));
}, (error) => fail(`cannot drive the browser: ${error.message}`));
