// Node's fetch through the gateway: many requests at once, bodies streamed both ways, events. Prints "ok".
import assert from "node:assert/strict";

const base = `http://${process.argv[2]}`;

const echoed = async (number) => {
  const answer = await fetch(`${base}/echo?${number}`, { method: "POST", body: `body ${number}` });
  assert.equal(answer.status, 200);
  assert.equal(await answer.text(), `body ${number}`);
};
await Promise.all(Array.from({ length: 200 }, (_, number) => echoed(number)));

const parts = Array.from({ length: 40 }, (_, number) => "x".repeat(number * 101));
const stream = new ReadableStream({
  start(controller) {
    for (const part of parts) controller.enqueue(new TextEncoder().encode(part));
    controller.close();
  },
});
const streamed = await fetch(`${base}/echo`, { method: "PUT", body: stream, duplex: "half" });
assert.equal(await streamed.text(), parts.join(""));

assert.equal(await (await fetch(`${base}/chunks`)).text(), "hello, world!");

const events = await fetch(`${base}/events`);
assert.equal(events.headers.get("content-type"), "text/event-stream");
let text = "";
for await (const chunk of events.body) text += new TextDecoder().decode(chunk);
assert.equal(text, "data: 1\n\ndata: 2\n\n");

const head = await fetch(`${base}/a`, { method: "HEAD" });
assert.deepEqual([head.status, head.headers.get("content-length"), await head.text()], [200, "2", ""]);
assert.equal((await fetch(`${base}/nothing`)).status, 204);

console.log("ok");
