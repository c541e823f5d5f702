// A certified OpenID provider (npm `oidc-provider`) for tests: `provider.mjs MODULES PORT HOST`.
//
// Tokens are bound to the key of a proof that comes with the question (DPoP, RFC 9449); those of the client `bound` to the certificate in
// `X-Client-Cert`, in base64 (RFC 8705).
//
// Tokens of the client `shop` by client credentials, for the resource `urn:AUDIENCE:ALGORITHM` (`urn:orders:ES256`), or
// `urn:AUDIENCE:opaque`. Beside what every provider has, tests can ask it to do what a provider's operators do:
// POST /test/rotate   publish a new key for each algorithm and sign with it; `?drop` publishes the old ones no more
// POST /test/client   the public key (a JWK) of the client `signer`, which proves who it is by a token that it signs
// POST /test/web      the client `web`, which people sign in to: members of its registration, and the `seconds` that its access tokens
//                     last. Whoever gives a name and any password at its login page is that person; `large` is one with much to tell
// GET  /test/count    how often each path was asked for; and `grant KIND` (`grant refresh_token`), how often the token endpoint gave
//                     tokens out for it, `refused KIND` if it did not, and `told`, `untold` how often it told a client of a logout
// POST /test/sign     a token of `{ header, claims, by }`, which no provider would give out: signed by the key for `header.alg`; or `by`
//                     a `stranger`, with the `public` key as a shared secret, or by nobody (`none`)
import { X509Certificate, createHmac, createPrivateKey, createPublicKey, generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, port, host] = process.argv.slice(2);
const { createLocalJWKSet, jwtVerify } = await import(pathToFileURL(createRequire(join(modules, 'x')).resolve('jose')));
const { Provider } = await import(pathToFileURL(join(modules, 'oidc-provider/lib/index.js')));
const issuer = `http://${host}:${port}`;

const kinds = {
  RS256: ['rsa', { modulusLength: 2048 }],
  PS256: ['rsa', { modulusLength: 2048 }],
  ES256: ['ec', { namedCurve: 'P-256' }],
  ES384: ['ec', { namedCurve: 'P-384' }],
  ES512: ['ec', { namedCurve: 'P-521' }],
  EdDSA: ['ed25519', {}],
};

function newKeys() {
  return Object.entries(kinds).map(([alg, [kind, options]]) => ({
    ...generateKeyPairSync(kind, options).privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: `${alg}-${randomUUID()}`,
  }));
}

const exchange = 'urn:ietf:params:oauth:grant-type:token-exchange';
let keys = newKeys();
let signer = [];
let web = [];
let seconds = 3600;
let handle;
const count = {};

function counted(what) {
  count[what] = (count[what] ?? 0) + 1;
}

// Everybody is here: by the name they give.
function findAccount(_, name) {
  const about = name === 'large' ? Buffer.alloc(6000, 'All there is to know. ').toString() : 'a test';
  return { accountId: name, claims: () => ({ sub: name, name: `The ${name}`, groups: ['staff', `of-${name}`], about }) };
}

// RFC 8693, which the provider leaves to its users: any token of its own for any audience but `forbidden`.
async function trade(ctx, next) {
  const { subject_token: subject, audience, scope } = ctx.oidc.params;
  const publicKeys = keys.map(({ d, p, q, dp, dq, qi, ...open }) => open);
  const { payload } = await jwtVerify(subject, createLocalJWKSet({ keys: publicKeys }), { issuer }).catch(() => ({}));
  if (!payload || audience === 'forbidden') {
    ctx.status = 400;
    ctx.body = payload ? { error: 'invalid_target', error_description: 'not for this one' } : { error: 'invalid_request' };
  } else {
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      iss: issuer, sub: payload.sub, aud: audience, client_id: ctx.oidc.client.clientId, iat: now, exp: now + 60, scope: scope ?? payload.scope,
      act: { sub: ctx.oidc.client.clientId },
    };
    ctx.body = {
      access_token: made({ header: { alg: 'ES256', typ: 'at+jwt' }, claims }), token_type: 'Bearer', expires_in: 60,
      issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    };
  }
  await next();
}

function start() {
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'shop', client_secret: 'shop-secret', grant_types: ['client_credentials', exchange], redirect_uris: [], response_types: [],
    }, {
      client_id: 'bound', client_secret: 'bound-secret', grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
      tls_client_certificate_bound_access_tokens: true,
    }, ...signer, ...web],
    jwks: { keys },
    findAccount,
    claims: { openid: ['sub'], profile: ['name', 'groups', 'about'] },
    // What the ID token says is all that there is to know.
    conformIdTokenClaims: false,
    pkce: { methods: ['S256'], required: () => true },
    issueRefreshToken: (_, client) => client.grantTypeAllowed('refresh_token'),
    // One that comes a second time takes all back.
    rotateRefreshToken: true,
    ttl: { AccessToken: () => seconds, AuthorizationCode: 60, Grant: 86400, IdToken: 3600, Interaction: 3600, RefreshToken: 86400, Session: 86400 },
    enabledJWA: { idTokenSigningAlgValues: Object.keys(kinds), dPoPSigningAlgValues: Object.keys(kinds) },
    features: {
      clientCredentials: { enabled: true },
      dPoP: { enabled: true },
      mTLS: {
        enabled: true, certificateBoundAccessTokens: true,
        getCertificate(ctx) {
          const der = ctx.get('x-client-cert');
          return der ? new X509Certificate(Buffer.from(der, 'base64')) : undefined;
        },
      },
      introspection: { enabled: true },
      revocation: { enabled: true },
      devInteractions: { enabled: true },
      backchannelLogout: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo(_, resource) {
          const [, audience, alg] = resource.split(':');
          return {
            audience, scope: 'orders.read orders.write', accessTokenTTL: 300,
            ...(alg === 'opaque' ? { accessTokenFormat: 'opaque' } : { accessTokenFormat: 'jwt', jwt: { sign: { alg } } }),
          };
        },
      },
    },
  });
  provider.registerGrantType(exchange, trade, [
    'subject_token', 'subject_token_type', 'requested_token_type', 'audience', 'scope',
  ], ['audience']);
  provider.on('server_error', (_, error) => console.error(error));
  provider.on('grant.success', (ctx) => counted(`grant ${ctx.oidc.params.grant_type}`));
  provider.on('grant.error', (ctx) => counted(`refused ${ctx.oidc.params?.grant_type}`));
  provider.on('backchannel.success', () => counted('told'));
  provider.on('backchannel.error', (_, error) => { console.error(error); counted('untold'); });
  handle = provider.callback();
}

function signature(signed, { header, by }) {
  if (by === 'none') return Buffer.alloc(0);
  const own = keys.find((key) => key.alg === (by === 'public' ? 'RS256' : header.alg));
  if (by === 'public') {
    const pem = createPublicKey({ key: own, format: 'jwk' }).export({ type: 'spki', format: 'pem' });
    return createHmac('sha256', pem).update(signed).digest();
  }
  const [kind, options] = kinds[header.alg];
  const key = by === 'stranger' ? generateKeyPairSync(kind, options).privateKey : createPrivateKey({ key: own, format: 'jwk' });
  const digest = kind === 'ed25519' ? null : `sha${header.alg.slice(2)}`;
  const padding = header.alg.startsWith('PS') ? { padding: 6, saltLength: -1 } : {};
  return sign(digest, Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363', ...padding });
}

function made(asked) {
  const own = keys.find((key) => key.alg === asked.header.alg);
  const header = { ...(own ? { kid: own.kid } : {}), ...asked.header };
  // A text is taken as it is, so that what no library would write can be written.
  const text = (part) => (typeof part === 'string' ? part : JSON.stringify(part));
  const signed = [header, asked.claims].map((part) => Buffer.from(text(part)).toString('base64url')).join('.');
  return `${signed}.${signature(signed, asked).toString('base64url')}`;
}

async function body(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return JSON.parse(Buffer.concat(parts).toString());
}

start();
createServer(async (request, response) => {
  const url = new URL(request.url, issuer);
  counted(url.pathname);
  if (url.pathname === '/test/rotate') {
    keys = url.searchParams.has('drop') ? newKeys() : [...newKeys(), ...keys];
    start();
    response.writeHead(204).end();
  } else if (url.pathname === '/test/sign') {
    response.writeHead(200, { 'content-type': 'text/plain' }).end(made(await body(request)));
  } else if (url.pathname === '/test/client') {
    signer = [{
      client_id: 'signer', grant_types: ['client_credentials', exchange], redirect_uris: [], response_types: [],
      token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'ES256', jwks: { keys: [await body(request)] },
    }];
    start();
    response.writeHead(204).end();
  } else if (url.pathname === '/test/web') {
    const { seconds: last = 3600, ...registration } = await body(request);
    seconds = last;
    web = [{
      client_id: 'web', client_secret: 'web-secret', grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'],
      backchannel_logout_session_required: true, id_token_signed_response_alg: 'ES256', ...registration,
    }];
    start();
    response.writeHead(204).end();
  } else if (url.pathname === '/test/count') {
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(count));
  } else {
    handle(request, response);
  }
}).listen(Number(port), host);
