//! From the words of the file to what sources of identity work with.

use std::sync::Arc;

use tollgate_config::model::{
    self, Algorithm as Named, ApiKeys, Aws, Basic, Bound, CertificateAuth, CertificateName, ClientProof,
    ForwardedCertificate, Introspection, KeyPlace, KeysAt, Login, ProxysWord, Saml, SamlSigned, SessionIn, Signed,
    SignedOnce, Tokens, UnsignedBody,
};
use tollgate_core::clock::Clock;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_identity::api_key::{self, Pepper};
use tollgate_identity::aws::AccessKey;
use tollgate_identity::basic::{self};
use tollgate_identity::exchange::{self, Trader};
use tollgate_identity::jwk::Algorithm;
use tollgate_identity::jwt::Expected;
use tollgate_identity::opaque::{self};
use tollgate_identity::profile::{Provider, Tenants};
use tollgate_identity::saml::{MustBeSigned, OwnKey};
use tollgate_identity::signed::{KnownKey, Once};
use tollgate_identity::signing::SigningKey;
use tollgate_identity::{JwtSettings, bound, certificate, client, dpop, keys, login, session, signature, sigv4};

pub(super) fn keyed(written: &ApiKeys, pepper: Option<Pepper>) -> api_key::Settings {
    let place = match &written.api_key.value {
        KeyPlace::Header(name) => api_key::Place::Header(name.clone()),
        KeyPlace::Query(name) => api_key::Place::Query(name.clone()),
        KeyPlace::Cookie(name) => api_key::Place::Cookie(name.clone()),
    };
    api_key::Settings { place, file: written.file.value.0.clone(), pepper, most: size(written.most.get()) }
}

/// Who the gateway is at a provider.
pub(super) fn client(id: &str, proof: Option<ClientProof<'_>>) -> Result<client::Client, Diagnostic> {
    let proof = match proof {
        Some(ClientProof::Basic(secret)) => client::Proof::Basic(secret.to_owned()),
        Some(ClientProof::Post(secret)) => client::Proof::Post(secret.to_owned()),
        Some(ClientProof::Key(key)) => {
            let mut keys = SigningKey::from_pem(&key.value.0, "JWT")
                .map_err(|why| Diagnostic::error(format!("the key of the client `{id}`: {why}")).at(&key.span))?;
            client::Proof::Key(Arc::new(keys.swap_remove(0)))
        }
        None => client::Proof::None,
    };
    Ok(client::Client { id: id.to_owned(), proof })
}

pub(super) fn trader(written: &Tokens, clock: &Clock) -> Result<Option<Trader>, Diagnostic> {
    let Some(trades) = &written.exchange else { return Ok(None) };
    let settings = exchange::Settings {
        issuer: written.issuer.value.0.clone(),
        url: trades.url.as_ref().map(|url| url.value.0.clone()),
        client: client(&trades.client.value, trades.proof())?,
        cache: trades.cache.0,
        timeout: written.timeout.0,
        remember: size(written.remember.get()),
        at_once: size(trades.at_once.get()),
    };
    Ok(Some(Trader::new(settings, clock.clone())))
}

/// What a request says beside the cookies of its session, about, in bytes.
const REST_OF_HEAD: usize = 4096;

/// How people sign in with a browser. `heads`: the largest head of a request.
pub(super) fn signing_in(written: &Login, heads: usize) -> Result<login::Settings, Diagnostic> {
    let scopes = written.scopes.as_ref().map(|scopes| scopes.iter().map(|scope| scope.value.clone()).collect());
    let parameters = written.parameters.iter().flat_map(|all| all.iter());
    let provider = login::oidc::Settings {
        issuer: written.login.value.0.clone(),
        tenants: written.tenants.as_ref().map(tenants),
        client: client(&written.client.value, written.proof())?,
        scopes: scopes.unwrap_or_else(|| vec!["openid".to_owned()]),
        parameters: parameters.map(|(name, value)| (name.value.clone(), value.clone())).collect(),
        userinfo: written.userinfo,
        keys: keys::Settings {
            from: keys::From::Issuer(written.login.value.0.clone()),
            refresh: written.refresh.0,
            keep: written.keep.0,
            timeout: written.timeout.0,
        },
        timeout: written.timeout.0,
    };
    Ok(login::Settings {
        provider: login::Provider::Oidc(provider),
        at: written.at.value.0.clone(),
        url: written.url.as_ref().map(|url| url.value.0.clone()),
        origins: written.origins.iter().flatten().map(|origin| origin.0.clone()).collect(),
        after_logout: written.after_logout.0.clone(),
        session: kept(&written.session, heads),
    })
}

/// The same at an identity provider of SAML.
pub(super) fn asserted(written: &Saml, heads: usize) -> Result<login::Settings, Diagnostic> {
    let key = |key: &Spanned<model::auth::Secret>| {
        OwnKey::from_pem(&key.value.0).map_err(|why| Diagnostic::error(format!("the key: {why}")).at(&key.span))
    };
    let keys = written.key.iter().chain(&written.key_before).map(key).collect::<Result<Vec<_>, _>>()?;
    let provider = login::saml::Settings {
        metadata: written.saml.value.0.clone(),
        provider: written.idp.clone(),
        entity: written.entity.as_ref().map(|entity| entity.value.clone()),
        keys: Arc::new(keys),
        signed: match written.signed {
            SamlSigned::Either => MustBeSigned::Either,
            SamlSigned::Assertion => MustBeSigned::Assertion,
            SamlSigned::Both => MustBeSigned::Both,
        },
        contexts: written.contexts.clone().unwrap_or_default(),
    };
    Ok(login::Settings {
        provider: login::Provider::Saml(provider),
        at: written.at.value.0.clone(),
        url: written.url.as_ref().map(|url| url.value.0.clone()),
        origins: written.origins.iter().flatten().map(|origin| origin.0.clone()).collect(),
        after_logout: written.after_logout.0.clone(),
        session: kept(&written.session, heads),
    })
}

/// `heads`: the largest head of a request, of which others need a part, too.
fn kept(written: &model::Session, heads: usize) -> session::Settings {
    session::Settings {
        lasts: written.lasts.value.0,
        idle: written.idle.value.0,
        in_store: written.kept == SessionIn::Store,
        cookie: written.cookie.value.0.clone(),
        largest: heads.saturating_sub(REST_OF_HEAD).max(heads / 2),
        remember: size(written.remember.get()),
    }
}

pub(super) fn signatures(written: &Aws) -> sigv4::Settings {
    sigv4::Settings {
        regions: written.regions.as_ref().map(|all| all.value.clone()).unwrap_or_default(),
        services: written.services.as_ref().map(|all| all.value.clone()).unwrap_or_default(),
        skew: written.skew.0,
        unsigned: match written.unsigned {
            UnsignedBody::Refused => sigv4::UnsignedBodies::Refused,
            UnsignedBody::Taken => sigv4::UnsignedBodies::Taken,
        },
    }
}

pub(super) fn access_keys(written: &Aws) -> Vec<AccessKey> {
    let key = |(id, key): &(Spanned<String>, model::AwsKey)| AccessKey {
        id: id.value.clone(),
        secret: sigv4::Secret::new(key.secret.0.as_bytes()),
        name: key.name.clone().unwrap_or_else(|| id.value.clone()),
        scopes: key.scopes.clone().unwrap_or_default(),
    };
    written.sigv4.value.iter().map(key).collect()
}

/// What a signature has to cover unless it is written.
pub(super) const COVERED: [&str; 4] = ["@method", "@authority", "@path", "@query"];

pub(super) fn expected(written: &Signed) -> Result<signature::Expected, Diagnostic> {
    let usual = || COVERED.iter().filter_map(|name| signature::Component::read(name).ok()).collect();
    let components =
        written.components.as_ref().map(|all| all.value.iter().map(component).collect::<Result<_, _>>()).transpose()?;
    let (tag, age, skew) = (written.tag.clone(), written.age.0, written.skew.0);
    Ok(signature::Expected { components: components.unwrap_or_else(usual), tag, age, skew })
}

pub(super) fn once(written: &Signed) -> Once {
    match written.nonce {
        SignedOnce::Required => Once::Always,
        SignedOnce::Optional => Once::WithNonce,
    }
}

pub(super) fn known_keys(written: &Signed) -> Result<Vec<KnownKey>, Diagnostic> {
    let known = |(id, one): &(Spanned<String>, model::SignedKey)| {
        let wrong = |why: String| Diagnostic::error(format!("the key `{}`: {why}", id.value)).at(&id.span);
        let algorithm = signature::Algorithm::of(one.algorithm.as_str());
        let key = match (algorithm, &one.key, &one.secret) {
            (Some(algorithm), Some(key), _) => {
                signature::VerifyingKey::from_pem(algorithm, &key.value).map_err(wrong)?
            }
            (_, _, Some(secret)) => signature::VerifyingKey::shared(secret.value.0.as_bytes())
                .ok_or_else(|| wrong("too short a secret".to_owned()))?,
            _ => return Err(wrong("there is none".to_owned())),
        };
        let name = one.name.clone().unwrap_or_else(|| id.value.clone());
        Ok(KnownKey { id: id.value.clone(), key: Arc::new(key), name, scopes: one.scopes.clone().unwrap_or_default() })
    };
    written.signature.value.iter().map(known).collect()
}

/// A part of a request that a signature covers.
pub(super) fn component(one: &Spanned<String>) -> Result<signature::Component, Diagnostic> {
    signature::Component::read(&one.value).map_err(|why| Diagnostic::error(why).at(&one.span))
}

pub(super) fn passwords(written: &Basic) -> basic::Settings {
    basic::Settings {
        file: written.basic.value.0.clone(),
        cache: written.cache.0,
        negative: written.negative.0,
        at_once: size(written.at_once.get()),
        remember: size(written.remember.get()),
    }
}

/// What tokens of a source are bound to.
fn bound_to(written: &Tokens) -> bound::Settings {
    let algorithms = |dpop: &model::Dpop| match &dpop.algorithms {
        None => Algorithm::ALL.to_vec(),
        Some(named) => named.value.iter().filter_map(|named| Algorithm::of(named.as_str())).collect(),
    };
    let dpop = written.dpop.as_ref().map(|own| dpop::Settings {
        algorithms: algorithms(own),
        age: own.age.value.0,
        skew: written.skew.value.0,
        nonce: own.nonce.as_ref().map(|nonce| nonce.value.0),
        secret: own.secret.as_ref().map(|secret| secret.value.0.as_bytes().to_vec()),
    });
    let bound = match written.bound.value {
        Bound::Optional => bound::Bound::Optional,
        Bound::Required => bound::Bound::Required,
        Bound::Certificate => bound::Bound::Certificate,
        Bound::Dpop => bound::Bound::Key,
    };
    bound::Settings { bound, forwarded: written.forwarded.value == ProxysWord::Believed, dpop }
}

pub(super) fn certificates(written: &CertificateAuth) -> certificate::Settings {
    let kind = |name: CertificateName| match name {
        CertificateName::Subject => certificate::Kind::Subject,
        CertificateName::CommonName => certificate::Kind::CommonName,
        CertificateName::Dns => certificate::Kind::Dns,
        CertificateName::Uri => certificate::Kind::Uri,
        CertificateName::Email => certificate::Kind::Email,
        CertificateName::Spiffe => certificate::Kind::Spiffe,
    };
    let list = |names: &Option<Spanned<Vec<String>>>| names.as_ref().map(|all| all.value.clone()).unwrap_or_default();
    certificate::Settings {
        subject: kind(written.certificate.value),
        consumer: kind(written.consumer.unwrap_or(written.certificate.value)),
        names: list(&written.names),
        domains: list(&written.domains),
        authorities: written.ca.as_ref().map(|ca| ca.value.0.clone()),
        forwarded: match written.forwarded.value {
            ForwardedCertificate::Ignored => certificate::Forwarded::Ignored,
            ForwardedCertificate::Verified => certificate::Forwarded::Verified,
            ForwardedCertificate::Believed => certificate::Forwarded::Believed,
        },
        remember: size(written.remember.get()),
    }
}

pub(super) fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn known(named: model::Provider) -> Provider {
    match named {
        model::Provider::Entra => Provider::Entra,
        model::Provider::Cognito => Provider::Cognito,
        model::Provider::Keycloak => Provider::Keycloak,
        model::Provider::Auth0 => Provider::Auth0,
        model::Provider::IdentityServer => Provider::IdentityServer,
        model::Provider::Okta => Provider::Okta,
        model::Provider::Google => Provider::Google,
    }
}

fn tenants(written: &Spanned<model::Tenants>) -> Tenants {
    match &written.value.0 {
        None => Tenants::Any,
        Some(ids) => Tenants::These(ids.clone()),
    }
}

pub(super) fn settings(written: &Tokens, clock: &Clock) -> Result<JwtSettings, Diagnostic> {
    let from = match &written.jwks {
        None => keys::From::Issuer(written.issuer.value.0.clone()),
        Some(Spanned { value: KeysAt::Url(url), .. }) => keys::From::Url(url.0.clone()),
        Some(Spanned { value: KeysAt::File(path), .. }) => keys::From::File(path.clone()),
    };
    let algorithm = |named: &Named| Algorithm::of(named.as_str());
    let (issuer, provider) = (&written.issuer.value.0, written.provider.as_ref().map(|named| known(named.value)));
    let kind = written.kind.as_ref().map(|kind| kind.value.0.clone());
    let profile = provider.map(Provider::profile).unwrap_or_default();
    Ok(JwtSettings {
        expected: Expected {
            issuers: provider.map_or_else(|| vec![issuer.clone()], |provider| provider.issuers(issuer)),
            audiences: written.audience.value.0.clone(),
            kind: kind.or_else(|| profile.kind.map(str::to_owned)),
            skew: written.skew.value.0,
            profile,
            tenants: written.tenants.as_ref().map(tenants),
            domains: written.hosted_domain.as_ref().map(|domains| domains.value.clone()).unwrap_or_default(),
        },
        algorithms: match &written.algorithms {
            None => Algorithm::ALL.to_vec(),
            Some(named) => named.value.iter().filter_map(algorithm).collect(),
        },
        keys: keys::Settings {
            from,
            refresh: written.refresh.value.0,
            keep: written.keep.value.0,
            timeout: written.timeout.0,
        },
        largest: size(written.largest.get()),
        remember: size(written.remember.get()),
        trader: trader(written, clock)?,
        bound: bound_to(written),
    })
}

pub(super) fn asking(written: &Tokens, asked: &Introspection, clock: &Clock) -> Result<opaque::Settings, Diagnostic> {
    Ok(opaque::Settings {
        issuer: written.issuer.value.0.clone(),
        url: asked.url.as_ref().map(|url| url.value.0.clone()),
        client: client(&asked.client.value, asked.proof())?,
        audiences: written.audience.value.0.clone(),
        cache: asked.cache.0,
        negative: asked.negative.0,
        timeout: written.timeout.0,
        skew: written.skew.value.0,
        largest: size(written.largest.get()),
        remember: size(written.remember.get()),
        at_once: size(asked.at_once.get()),
        trader: trader(written, clock)?,
        bound: bound_to(written),
    })
}
