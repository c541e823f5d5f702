// A browser (Debian's Chromium) that does what it is told: `browser.mjs MODULES`. Each line of its standard input is an order, a JSON
// object; each line of its standard output says what came of it, in the same sequence: `{ "value": … }` or `{ "error": "…" }`.
//
//   { "tab": "alice/1", "order": "goto", "url": "http://…" }
//
// What stands before the slash is a person: their tabs have their cookies in common, and with nobody else. The browser ends with its
// input. Every order waits until what it asks for is there; none waits longer than `patience`.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const [modules, patience = '20000'] = process.argv.slice(2);
const { chromium } = createRequire(join(modules, 'x'))('playwright-core');

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  chromiumSandbox: false,
  args: [
    // Nothing outside this machine is there for it, whatever a page asks for.
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1, EXCLUDE 127.0.0.2, EXCLUDE 127.0.0.3',
  ],
});
const people = new Map();
const tabs = new Map();
const held = new Map();

async function contextOf(tab) {
  const person = tab.split('/')[0];
  if (!people.has(person)) {
    // Certificates of tests are made by nobody whom it knows.
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    context.setDefaultTimeout(Number(patience));
    people.set(person, context);
  }
  return people.get(person);
}

async function pageOf(tab) {
  if (!tabs.has(tab)) tabs.set(tab, await (await contextOf(tab)).newPage());
  return tabs.get(tab);
}

async function seen(page, answer) {
  return { status: answer?.status() ?? 0, url: page.url(), text: await page.evaluate(() => document.body?.innerText ?? '') };
}

const orders = {
  // Goes there as if it were typed in; what is there in the end.
  async goto({ tab, url }) {
    const page = await pageOf(tab);
    return seen(page, await page.goto(url));
  },
  async reload({ tab }) {
    const page = await pageOf(tab);
    return seen(page, await page.reload());
  },
  async fill({ tab, where, text }) {
    await (await pageOf(tab)).fill(where, text);
  },
  async click({ tab, where }) {
    await (await pageOf(tab)).click(where, { noWaitAfter: true });
  },
  // Waits until this is there to be seen.
  async appears({ tab, where }) {
    await (await pageOf(tab)).waitForSelector(where);
  },
  // Waits until the tab is at an address that begins so, and that page is whole.
  async arrives({ tab, at }) {
    const page = await pageOf(tab);
    await page.waitForURL((url) => url.href.startsWith(at)).catch((error) => {
      throw new Error(`it is at ${page.url()}: ${error.message}`);
    });
    return seen(page);
  },
  // Waits until the tab is elsewhere than there, and that page is whole.
  async leaves({ tab, from }) {
    const page = await pageOf(tab);
    await page.waitForURL((url) => url.href !== from);
    return seen(page);
  },
  async url({ tab }) {
    return (await pageOf(tab)).url();
  },
  async text({ tab }) {
    return (await seen(await pageOf(tab))).text;
  },
  // Runs a script in the page; its value, or that of its promise.
  async evaluate({ tab, script }) {
    return (await pageOf(tab)).evaluate(script);
  },
  // What a script of the page gets: redirects are not followed, unless `options` say so.
  async fetch({ tab, url, options }) {
    return (await pageOf(tab)).evaluate(async ([target, how]) => {
      const answer = await fetch(target, { redirect: 'manual', ...how });
      return { status: answer.status, type: answer.type, headers: Object.fromEntries(answer.headers), text: await answer.text() };
    }, [url, options]);
  },
  async cookies({ tab }) {
    return (await contextOf(tab)).cookies();
  },
  async keep({ tab, cookies }) {
    await (await contextOf(tab)).addCookies(cookies);
  },
  async forget({ tab, host }) {
    await (await contextOf(tab)).clearCookies({ domain: host });
  },
  // What this tab asks for at an address that begins so gets no further than here, also on the way of redirects (which is why playwright's own `route`
  // is not enough): the address stays to be read.
  async hold({ tab, at }) {
    const page = await pageOf(tab);
    const session = await page.context().newCDPSession(page);
    session.on('Fetch.requestPaused', ({ requestId }) => session.send('Fetch.fulfillRequest', {
      requestId, responseCode: 200, responseHeaders: [{ name: 'content-type', value: 'text/plain' }], body: Buffer.from('held').toString('base64'),
    }));
    await session.send('Fetch.enable', { patterns: [{ urlPattern: `${at}*` }] });
    held.set(tab, session);
  },
  async release({ tab }) {
    await held.get(tab).detach();
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  const told = await orders[order.order](order).then((value) => ({ value: value ?? null }), (error) => ({ error: error.message }));
  console.log(JSON.stringify(told));
}
await browser.close();
