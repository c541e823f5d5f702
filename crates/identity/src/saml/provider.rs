//! What an identity provider says of itself: its metadata (SAML 2.0 Metadata §2).
//!
//! Who wrote it is for the caller to know: it comes from a file, or by TLS from an address that the operator names. A signature of
//! it is not looked at.

use std::time::SystemTime;

use super::certificate::Certificate;
use super::xml::{self, DESCRIPTION, DSIG, METADATA, Node, SAMLP};

/// Most certificates for signing.
const MOST_CERTIFICATES: usize = 16;
/// Most endpoints of a kind.
const MOST_ENDPOINTS: usize = 32;

/// How a message travels (SAML 2.0 Bindings).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// In the query of a redirect (§3.4).
    Redirect,
    /// In a form (§3.5).
    Post,
}

impl Binding {
    /// As it stands in metadata.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Redirect => "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect",
            Self::Post => "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST",
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Self::Redirect, Self::Post].into_iter().find(|binding| binding.name() == name)
    }
}

/// Where messages are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// How.
    pub binding: Binding,
    /// The address.
    pub location: String,
    /// The address for answers, if that is another one.
    pub response_location: Option<String>,
}

/// An identity provider.
#[derive(Debug)]
pub struct Provider {
    /// Its name, the `Issuer` of what it says.
    pub entity_id: String,
    /// Where users sign in.
    pub sign_in: Vec<Endpoint>,
    /// Where sessions end; empty: it does not take part in that.
    pub logout: Vec<Endpoint>,
    /// What it signs with: the one of today, and perhaps that of tomorrow.
    pub certificates: Vec<Certificate>,
    /// Whether requests have to be signed.
    pub requests: Requests,
    /// After this nothing of it holds.
    pub valid_until: Option<SystemTime>,
}

/// How requests are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requests {
    /// Signed.
    Signed,
    /// As they come.
    Any,
}

impl Provider {
    /// Reads metadata: that of one entity, or of several of which one has this `entityID`.
    ///
    /// # Errors
    /// It is none, or lacks what is needed; in words for a person.
    pub fn read(text: &[u8], entity_id: Option<&str>) -> Result<Self, String> {
        let text = str::from_utf8(text).map_err(|_| "no UTF-8".to_owned())?;
        let document = xml::read(text, DESCRIPTION)?;
        let root = document.root_element();
        let mut entities = root.descendants().filter(|node| xml::is(*node, METADATA, "EntityDescriptor"));
        let entity = match entity_id {
            Some(wanted) => entities
                .find(|entity| entity.attribute("entityID") == Some(wanted))
                .ok_or_else(|| format!("it has no `EntityDescriptor` of `{wanted}`"))?,
            None => {
                let first = entities.next().ok_or_else(|| "no metadata: it has no `EntityDescriptor`".to_owned())?;
                if entities.next().is_some() {
                    return Err("it describes several: name one by its `entityID`".to_owned());
                }
                first
            }
        };
        Self::of(entity)
    }

    fn of(entity: Node<'_>) -> Result<Self, String> {
        let entity_id = xml::attribute(entity, "entityID")?.to_owned();
        let role = xml::children(entity, METADATA, "IDPSSODescriptor")
            .find(|role| {
                role.attribute("protocolSupportEnumeration").is_some_and(|all| all.split(' ').any(|p| p == SAMLP))
            })
            .ok_or_else(|| "it has no `IDPSSODescriptor` for SAML 2.0".to_owned())?;
        let sign_in = endpoints(role, "SingleSignOnService")?;
        if sign_in.is_empty() {
            return Err("it has no `SingleSignOnService` by redirect or form".to_owned());
        }
        let certificates = certificates(role)?;
        let is_true = |value: &str| value == "true" || value == "1";
        let requests = if role.attribute("WantAuthnRequestsSigned").is_some_and(is_true) {
            Requests::Signed
        } else {
            Requests::Any
        };
        // Of all that say when they end, the earliest counts.
        let mut valid_until = None;
        for around in role.ancestors().filter(Node::is_element) {
            let ends = xml::time(around, "validUntil")?;
            valid_until = [valid_until, ends].into_iter().flatten().min();
        }
        Ok(Self {
            entity_id,
            sign_in,
            logout: endpoints(role, "SingleLogoutService")?,
            certificates,
            requests,
            valid_until,
        })
    }

    /// Where users sign in by this binding.
    #[must_use]
    pub fn sign_in_by(&self, binding: Binding) -> Option<&str> {
        let endpoint = self.sign_in.iter().find(|endpoint| endpoint.binding == binding);
        endpoint.map(|endpoint| endpoint.location.as_str())
    }
}

fn endpoints(role: Node<'_>, name: &str) -> Result<Vec<Endpoint>, String> {
    let mut all = Vec::new();
    for endpoint in xml::children(role, METADATA, name).take(MOST_ENDPOINTS) {
        let Some(binding) = Binding::of(xml::attribute(endpoint, "Binding")?) else { continue };
        let response_location = endpoint.attribute("ResponseLocation");
        let location = xml::attribute(endpoint, "Location")?;
        // Users are sent there: `javascript:` would run on our page.
        let is_web = |address: &str| address.starts_with("https://") || address.starts_with("http://");
        if ![Some(location), response_location].into_iter().flatten().all(is_web) {
            return Err(format!("the address of a `{name}` is none of the web"));
        }
        let response_location = response_location.map(str::to_owned);
        all.push(Endpoint { binding, location: location.to_owned(), response_location });
    }
    Ok(all)
}

/// Those for signing, which is what a key without `use` is for, too. One that cannot be used does no harm as long as others can.
fn certificates(role: Node<'_>) -> Result<Vec<Certificate>, String> {
    let (mut all, mut wrong) = (Vec::new(), None);
    let is_for_signing = |key: &Node<'_>| key.attribute("use").is_none_or(|usage| usage == "signing");
    for key in xml::children(role, METADATA, "KeyDescriptor").filter(is_for_signing) {
        let certificates = key.descendants().filter(|node| xml::is(*node, DSIG, "X509Certificate"));
        for certificate in certificates {
            let der =
                xml::base64(&xml::text(certificate)?).ok_or_else(|| "a certificate that is not base64".to_owned());
            match der.and_then(|der| Certificate::from_der(&der)) {
                Ok(certificate) => all.push(certificate),
                Err(why) => wrong = Some(why),
            }
        }
    }
    all.truncate(MOST_CERTIFICATES);
    match (all.is_empty(), wrong) {
        (false, _) => Ok(all),
        (true, Some(why)) => Err(why),
        (true, None) => Err("it has no certificate for signing".to_owned()),
    }
}
