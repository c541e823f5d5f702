// A thousand requests over one HTTP/2 connection, a hundred at once, with a PING now and then: heavy use and no flood.
// Prints how many were answered as they should.
import http2 from 'node:http2';

const session = http2.connect(`http://${process.argv[2]}`);
session.on('error', (error) => {
  console.error(error);
  process.exit(1);
});

function get(path) {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ':path': path });
    let [status, body] = [0, ''];
    stream.setEncoding('utf8');
    stream.on('response', (headers) => { status = headers[':status']; });
    stream.on('data', (part) => { body += part; });
    stream.on('end', () => resolve({ status, body }));
    stream.on('error', reject);
  });
}

let [next, fine] = [0, 0];
async function work() {
  while (next < 1000) {
    const number = next++;
    if (number % 50 === 0) session.ping(() => {});
    const { status, body } = await get(`/${number}`);
    if (status === 200 && body === 'ok') fine++;
  }
}
await Promise.all(Array.from({ length: 100 }, work));
session.close();
console.log(fine);
