// Makes proofs (DPoP, RFC 9449) by the library `jose`: `dpop.mjs MODULES`. A line of JSON each on standard input, a proof each on standard output:
// `{ key, alg, header, claims, by }`: signed by the key of this name, which is made when it is first asked for. What is `null` in `header` or `claims`
// is left out. `by`: `jose`, as every client does; or what no client should do: `none`, `secret` (with the public key as a shared secret),
// `private` (with the private key in the header), `other` (signed by another key than the one in the header).
// `{ key, thumbprint: true }`: the thumbprint of a key (RFC 7638).
import { createHash, createHmac, randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [modules] = process.argv.slice(2);
const { SignJWT, calculateJwkThumbprint, exportJWK, generateKeyPair } =
  await import(pathToFileURL(createRequire(join(modules, 'x')).resolve('jose')));

const keys = new Map();
async function keyOf(name, alg) {
  if (!keys.has(name)) keys.set(name, await generateKeyPair(alg, { extractable: true }));
  return keys.get(name);
}

function without(object) {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== null));
}

async function made({ key: name, alg = 'ES256', header = {}, claims = {}, by = 'jose', token, thumbprint }) {
  const key = await keyOf(name, alg);
  const jwk = await exportJWK(by === 'private' ? key.privateKey : key.publicKey);
  if (thumbprint) return calculateJwkThumbprint(await exportJWK(key.publicKey));
  const ath = token ? createHash('sha256').update(token).digest('base64url') : null;
  const all = without({ jti: randomUUID(), iat: Math.floor(Date.now() / 1000), ath, ...claims });
  const head = without({ alg, typ: 'dpop+jwt', jwk, ...header });
  if (by === 'none' || by === 'secret') {
    const named = { ...head, alg: by === 'none' ? 'none' : 'HS256' };
    const signed = [named, all].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
    const signature = by === 'none' ? '' : createHmac('sha256', JSON.stringify(jwk)).update(signed).digest('base64url');
    return `${signed}.${signature}`;
  }
  const signer = by === 'other' ? (await generateKeyPair(alg)).privateKey : key.privateKey;
  return new SignJWT(all).setProtectedHeader(head).sign(signer);
}

for await (const line of createInterface({ input: process.stdin })) console.log(await made(JSON.parse(line)));
