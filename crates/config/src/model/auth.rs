//! `auth`: who can tell who calls, by name.

pub mod api_keys;
pub mod aws;
pub mod basic;
pub mod bound;
pub mod certificates;
pub mod ldap;
pub mod login;
pub mod provider;
pub mod saml;
pub mod secret;
pub mod signed;
pub mod tokens;
pub mod url;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::node::Node;

pub use self::api_keys::{ApiKeys, KeyPlace};
pub use self::aws::{Aws, AwsKey, UnsignedBody};
pub use self::basic::Basic;
pub use self::bound::{Bound, Dpop, ProxysWord};
pub use self::certificates::{CertificateAuth, CertificateName, ForwardedCertificate};
pub use self::ldap::{Ldap, LdapGroups, LdapUrl, LdapUsers};
pub use self::login::{CookieName, LocalPath, Login, Origin, Session, SessionIn};
pub use self::provider::{Provider, Tenants};
pub use self::saml::{Saml, SamlSigned};
pub use self::secret::Secret;
pub use self::signed::{Signed, SignedBy, SignedKey, SignedOnce};
pub use self::tokens::{
    Algorithm, Audience, ClientAuth, ClientProof, Introspection, KeysAt, TokenExchange, TokenType, Tokens,
};
pub use self::url::Url;

/// A source of identity: which kind it is, one key tells that the others do not have.
#[derive(Clone, Debug, PartialEq)]
pub enum AuthSource {
    /// Tokens of an identity provider.
    Tokens(Box<Tokens>),
    /// API keys.
    Keys(ApiKeys),
    /// Names and passwords.
    Basic(Basic),
    /// Names and passwords that a directory is asked about.
    Ldap(Box<Ldap>),
    /// Requests that are signed as AWS has it.
    Aws(Aws),
    /// Requests with message signatures.
    Signed(Signed),
    /// People who sign in with a browser, at an OpenID provider.
    Login(Box<Login>),
    /// The same at an identity provider of SAML.
    Saml(Box<Saml>),
    /// Certificates of clients.
    Certificates(CertificateAuth),
}

impl AuthSource {
    /// How it keeps sessions of browsers, if it does.
    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        match self {
            Self::Login(login) => Some(&login.session),
            Self::Saml(saml) => Some(&saml.session),
            _ => None,
        }
    }
}

impl Decode for AuthSource {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        if node.get("api_key").is_some() {
            return ApiKeys::decode(node, cx).map(Self::Keys);
        }
        if node.get("basic").is_some() {
            return Basic::decode(node, cx).map(Self::Basic);
        }
        if node.get("ldap").is_some() {
            return Ldap::decode(node, cx).map(|ldap| Self::Ldap(Box::new(ldap)));
        }
        if node.get("sigv4").is_some() {
            return Aws::decode(node, cx).map(Self::Aws);
        }
        if node.get("signature").is_some() {
            return Signed::decode(node, cx).map(Self::Signed);
        }
        if node.get("saml").is_some() {
            return Saml::decode(node, cx).map(|saml| Self::Saml(Box::new(saml)));
        }
        if node.get("login").is_some() {
            return Login::decode(node, cx).map(|login| Self::Login(Box::new(login)));
        }
        if node.get("certificate").is_some() {
            return CertificateAuth::decode(node, cx).map(Self::Certificates);
        }
        Tokens::decode(node, cx).map(|tokens| Self::Tokens(Box::new(tokens)))
    }
}

impl JsonSchema for AuthSource {
    fn schema_name() -> Cow<'static, str> {
        "AuthSource".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [generator.subschema_for::<Tokens>(), generator.subschema_for::<ApiKeys>(), generator.subschema_for::<Basic>(), generator.subschema_for::<Aws>(), generator.subschema_for::<Signed>(), generator.subschema_for::<Login>(), generator.subschema_for::<Saml>(), generator.subschema_for::<CertificateAuth>(), generator.subschema_for::<Ldap>()] })
    }
}
