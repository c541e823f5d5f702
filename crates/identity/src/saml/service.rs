//! The gateway as a service that users sign in to: what it says of itself (SAML 2.0 Metadata §2.4.4), and what it asks (Core §3.4).

use std::sync::Arc;
use std::time::SystemTime;

use data_encoding::BASE64;

use super::binding::{self, Kind, Sent};
use super::own_key::OwnKey;
use super::provider::{Binding, Endpoint, Provider, Requests};
use super::response::MustBeSigned;
use super::xml::{DSIG, METADATA, SAML, SAMLP, escape, written_time};
use crate::signing::unique;

/// What opens what is encrypted for us; the ciphers, best first.
const OPENED: [&str; 3] = [
    "http://www.w3.org/2009/xmlenc11#aes256-gcm",
    "http://www.w3.org/2009/xmlenc11#aes128-gcm",
    "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p",
];

/// The gateway, as a provider knows it.
#[derive(Debug)]
pub struct Service {
    /// Its name, the audience of assertions.
    pub entity_id: String,
    /// Where answers are sent, by form.
    pub assertion_consumer: String,
    /// Where logouts are sent, by redirect or form, if it takes part in that.
    pub logout: Option<String>,
    /// Its keys: the first one signs, and those of RSA open. More than one while they change.
    pub keys: Arc<Vec<OwnKey>>,
    /// What kind of name is wanted of users, if one is.
    pub name_id_format: Option<String>,
    /// What providers must sign.
    pub signed: MustBeSigned,
}

/// What is wanted of a sign-in.
#[derive(Clone, Copy, Debug, Default)]
pub struct SignIn<'a> {
    /// How the question travels, if the provider takes it that way.
    pub binding: Option<Binding>,
    /// Comes back with the answer: at most 80 bytes.
    pub state: Option<&'a str>,
    /// Whom to ask.
    pub user: User,
    /// One of these ways to sign in (`AuthnContextClassRef`); empty: any.
    pub contexts: &'a [String],
}

/// What the user has to do with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum User {
    /// As the provider sees fit.
    #[default]
    AsNeeded,
    /// They sign in, even if they have done so before (`ForceAuthn`).
    SignsInAnew,
    /// They are not asked anything (`IsPassive`).
    IsNotAsked,
}

/// A message that is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its ID, which the answer names: to be kept with the browser's session.
    pub id: String,
    /// What the browser is told.
    pub sent: Sent,
}

impl Service {
    /// Its metadata, for the provider.
    #[must_use]
    pub fn metadata(&self) -> String {
        let (post, redirect) = (Binding::Post.name(), Binding::Redirect.name());
        let logout = self.logout.as_deref().map(escape).map(|location| {
            let endpoint = |binding| format!("<md:SingleLogoutService Binding=\"{binding}\" Location=\"{location}\"/>");
            format!("{}{}", endpoint(redirect), endpoint(post))
        });
        let format =
            self.name_id_format.as_deref().map(|f| format!("<md:NameIDFormat>{}</md:NameIDFormat>", escape(f)));
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<md:EntityDescriptor xmlns:md=\"{METADATA}\" entityID=\"{}\">\
             <md:SPSSODescriptor AuthnRequestsSigned=\"{}\" WantAssertionsSigned=\"{}\" \
             protocolSupportEnumeration=\"{SAMLP}\">{}{}{}<md:AssertionConsumerService index=\"0\" isDefault=\"true\" \
             Binding=\"{post}\" Location=\"{}\"/></md:SPSSODescriptor></md:EntityDescriptor>\n",
            escape(&self.entity_id),
            !self.keys.is_empty(),
            self.signed != MustBeSigned::Either,
            self.keys.iter().map(described).collect::<String>(),
            logout.unwrap_or_default(),
            format.unwrap_or_default(),
            escape(&self.assertion_consumer),
        )
    }

    /// Asks a provider who the user is. It is signed if there is a key.
    ///
    /// # Errors
    /// The provider wants it signed, and there is no key; the state is too long; or the system has no random numbers.
    pub fn ask(&self, provider: &Provider, how: &SignIn<'_>, now: SystemTime) -> Result<Asked, String> {
        if provider.requests == Requests::Signed && self.keys.is_empty() {
            return Err("the provider wants requests to be signed, and there is no key".to_owned());
        }
        self.ask_as(provider, how, new_id()?, now)
    }

    pub(super) fn ask_as(
        &self,
        provider: &Provider,
        how: &SignIn<'_>,
        id: String,
        now: SystemTime,
    ) -> Result<Asked, String> {
        let to =
            pick(&provider.sign_in, how.binding).ok_or_else(|| "the provider has no place to sign in".to_owned())?;
        let user = match how.user {
            User::AsNeeded => "",
            User::SignsInAnew => " ForceAuthn=\"true\"",
            User::IsNotAsked => " IsPassive=\"true\"",
        };
        let format = self.name_id_format.as_deref().map(|format| format!(" Format=\"{}\"", escape(format)));
        let class =
            |class: &String| format!("<saml:AuthnContextClassRef>{}</saml:AuthnContextClassRef>", escape(class));
        let contexts = match how.contexts {
            [] => String::new(),
            some => format!(
                "<samlp:RequestedAuthnContext Comparison=\"exact\">{}</samlp:RequestedAuthnContext>",
                some.iter().map(class).collect::<String>()
            ),
        };
        let head = self.head("AuthnRequest", &id, &to.location, now);
        let message = format!(
            "{head} AssertionConsumerServiceURL=\"{}\" ProtocolBinding=\"{}\"{user}>{}\
             <samlp:NameIDPolicy{} AllowCreate=\"true\"/>{contexts}</samlp:AuthnRequest>",
            escape(&self.assertion_consumer),
            Binding::Post.name(),
            self.issuer(),
            format.unwrap_or_default(),
        );
        let sent = binding::send(&message, Kind::Request, to, how.state, self.keys.first())?;
        Ok(Asked { id, sent })
    }

    /// What messages begin with. The tag is left open for more.
    pub(super) fn head(&self, name: &str, id: &str, to: &str, now: SystemTime) -> String {
        format!(
            "<samlp:{name} xmlns:samlp=\"{SAMLP}\" xmlns:saml=\"{SAML}\" ID=\"{id}\" Version=\"2.0\" \
             IssueInstant=\"{}\" Destination=\"{}\"",
            written_time(now),
            escape(to),
        )
    }

    pub(super) fn issuer(&self) -> String {
        format!("<saml:Issuer>{}</saml:Issuer>", escape(&self.entity_id))
    }
}

/// A name for a message that nothing else has. An ID begins with no digit.
pub(super) fn new_id() -> Result<String, String> {
    unique().map(|random| format!("_{random}"))
}

/// The endpoint of this binding, else the first one.
pub(super) fn pick(endpoints: &[Endpoint], binding: Option<Binding>) -> Option<&Endpoint> {
    endpoints.iter().find(|endpoint| Some(endpoint.binding) == binding).or_else(|| endpoints.first())
}

/// A key, for signing, and for opening if it can.
fn described(key: &OwnKey) -> String {
    let certificate = BASE64.encode(key.certificate());
    let key_for = |usage: &str, methods: &str| {
        format!(
            "<md:KeyDescriptor use=\"{usage}\"><ds:KeyInfo xmlns:ds=\"{DSIG}\"><ds:X509Data>\
             <ds:X509Certificate>{certificate}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>{methods}</md:KeyDescriptor>"
        )
    };
    let mut text = key_for("signing", "");
    if key.is_for_opening() {
        let methods = OPENED.map(|method| format!("<md:EncryptionMethod Algorithm=\"{method}\"/>"));
        text.push_str(&key_for("encryption", &methods.concat()));
    }
    text
}
