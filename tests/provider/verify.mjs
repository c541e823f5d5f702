// Verifies a token as a service would, by the library `jose`: `verify.mjs MODULES JWKS ISSUER AUDIENCE`, the token on standard input.
// Its header and claims on standard output; what is wrong with it on standard error.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';

const [modules, jwks, issuer, audience] = process.argv.slice(2);
const { createRemoteJWKSet, jwtVerify } = await import(pathToFileURL(createRequire(join(modules, 'x')).resolve('jose')));
const token = (await text(process.stdin)).trim();
try {
  const { payload, protectedHeader } = await jwtVerify(token, createRemoteJWKSet(new URL(jwks)), { issuer, audience, typ: 'at+jwt' });
  console.log(JSON.stringify({ header: protectedHeader, claims: payload }));
} catch (error) {
  console.error(error.code ?? error.message);
  process.exitCode = 1;
}
