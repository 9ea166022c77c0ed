// A page in a real browser that uses the bundle of npm's centrifuge: node browser.js NODE_FOLDER PAGE_PORT.
//
// Serves the page on PAGE_PORT, opens it in Chromium and speaks with the test as realtime.js does. What is said is typed into the
// page's field, and what is heard is read back from its list: nothing goes around the page.
const [folder, port] = process.argv.slice(2);
const { spawn } = require('node:child_process');
const { mkdtempSync, readFileSync, rmSync } = require('node:fs');
const { createServer } = require('node:http');
const { tmpdir } = require('node:os');
const path = require('node:path');
const { chromium } = require('node:module').createRequire(folder + '/')('playwright-core');

const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];
const FILES = {
  '/': ['text/html', readFileSync(path.join(__dirname, 'browser.html'))],
  '/centrifuge.js': ['text/javascript', readFileSync(path.join(folder, 'node_modules/centrifuge/dist/centrifuge.js'))],
};

const tell = (line) => process.stdout.write(JSON.stringify(line) + '\n');

let end = () => process.exit(0);

async function open(how) {
  const profile = mkdtempSync(path.join(tmpdir(), 'roomhook-browser-'));
  // Everything that it writes goes where it is removed again.
  const env = { ...process.env, HOME: profile, XDG_CONFIG_HOME: profile, XDG_CACHE_HOME: profile };
  const flags = [...FLAGS, '--remote-debugging-port=0', `--user-data-dir=${profile}`];
  const browser = spawn('chromium', flags, { env, stdio: ['ignore', 'ignore', 'pipe'] });
  browser.on('error', (error) => { console.error(`cannot start chromium: ${error.message}`); process.exit(1); });
  end = async () => {
    // An orderly end, so that its helpers do not write any more after it.
    const ended = new Promise((resolve) => browser.on('exit', resolve));
    const insist = setTimeout(() => browser.kill('SIGKILL'), 5000);
    browser.kill('SIGTERM');
    await ended;
    clearTimeout(insist);
    for (let tries = 100; tries > 0; tries -= 1) {
      try {
        rmSync(profile, { recursive: true, force: true });
        break;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
    process.exit(0);
  };
  const endpoint = await new Promise((resolve) => {
    let said = '';
    browser.stderr.on('data', (more) => {
      said += more;
      const found = /DevTools listening on (ws:\S+)/.exec(said);
      if (found) resolve(found[1]);
    });
  });
  const page = await (await (await chromium.connectOverCDP(endpoint)).newContext()).newPage();
  page.on('pageerror', (error) => tell({ event: 'page_error', message: error.message }));
  await page.exposeFunction('tell', tell);
  await page.goto(`http://127.0.0.1:${port}/`);
  await page.evaluate((how) => open_client(how), how);
  return page;
}

const commands = {
  connect: (page) => page.evaluate(() => client.connect()),
  subscribe: (page, { channel }) => page.evaluate((channel) => enter(channel), channel),
  say: async (page, { text }) => {
    await page.fill('#say', text);
    await page.press('#say', 'Enter');
  },
  heard: (page) => page.locator('#heard li').allTextContents(),
};

createServer((request, response) => {
  const [type, body] = FILES[request.url] ?? ['text/plain', ''];
  response.writeHead(body === '' ? 404 : 200, { 'Content-Type': type }).end(body);
}).listen(Number(port), '127.0.0.1', () => {
  let page;
  const lines = require('node:readline').createInterface({ input: process.stdin });
  lines.on('line', async (text) => {
    const command = JSON.parse(text);
    if (page === undefined) {
      page = open(command);
      return;
    }
    try {
      tell({ answer: command.id, ok: (await commands[command.do](await page, command)) ?? null });
    } catch (error) {
      tell({ answer: command.id, error: { code: 0, message: error.message } });
    }
  });
  lines.on('close', () => end());
});
