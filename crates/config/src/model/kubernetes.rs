//! `kubernetes`: where Kubernetes is asked for instances, and which of them a service wants.

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_core::section;
use tollgate_core::text::{FromText, decode_from_text, text_schema};
use tollgate_core::units::Period;

use crate::model::auth::secret::Secret;
use crate::model::auth::url::{Url, is_private};
use crate::model::defaults::v1;
use crate::model::tls::FilePath;

section! {
    /// How Kubernetes is asked for the instances of services that say `kubernetes`. A gateway that runs in the cluster needs none of
    /// this: it goes by its service account.
    pub struct Kubernetes: fits {
        /// Where the API server is; without it, that of the cluster in which the gateway runs.
        url: Option<Spanned<Url>>,
        /// What the API server is shown, as it is.
        token: Option<Spanned<Secret>>,
        /// The file of what it is shown, read again for each question.
        token_file: Option<Spanned<FilePath>>,
        /// The certificates of those who may vouch for the API server (PEM); without it, in the cluster that of the service account,
        /// elsewhere whom the system trusts.
        ca: Option<Spanned<FilePath>>,
        /// For how long instances are used once the API server does not answer.
        hold: Period = v1::SOURCE_HOLD,
    }
}

section! {
    /// The instances of a service of Kubernetes that are ready, by its EndpointSlices.
    pub struct FromKubernetes {
        /// The namespace and the service: `shop/orders`.
        service: Spanned<KubernetesService>,
        /// The port of the instances, by its name or number; without it, the only one that they have.
        port: Option<KubernetesPort>,
    }
}

/// A service in its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesService {
    /// The namespace.
    pub namespace: String,
    /// The service.
    pub name: String,
}

impl FromText for KubernetesService {
    const WHAT: &'static str = "a namespace and a service";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        match text.split_once('/') {
            Some((namespace, name)) if is_label(namespace) && is_label(name) => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(Diagnostic::error(format!("`{text}` is no service of Kubernetes"))
                .hint("its namespace and its name: `shop/orders`")),
        }
    }
}

/// A port, as a slice names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KubernetesPort {
    /// By its name.
    Name(String),
    /// By its number.
    Number(u16),
}

impl FromText for KubernetesPort {
    const WHAT: &'static str = "the name or number of a port";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        match text.parse::<u16>() {
            Ok(number) if number > 0 => Ok(Self::Number(number)),
            Err(_) if is_label(text) && text.bytes().any(|byte| byte.is_ascii_lowercase()) => {
                Ok(Self::Name(text.to_owned()))
            }
            _ => Err(Diagnostic::error(format!("`{text}` is no port")).hint("its name or number: `http`, `8080`")),
        }
    }
}

/// A label of RFC 1123, which names of services, namespaces and ports are.
fn is_label(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(is_fit) && !text.starts_with('-') && !text.ends_with('-')
}

decode_from_text!(KubernetesService, KubernetesPort);
text_schema!(KubernetesService, "KubernetesService", "description": "A namespace and a service in it.", "pattern": "^[a-z0-9-]{1,63}/[a-z0-9-]{1,63}$", "examples": ["shop/orders"]);

impl schemars::JsonSchema for KubernetesPort {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "KubernetesPort".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "The name or number of a port.",
            "anyOf": [
                { "type": "string", "pattern": "^[a-z0-9-]{1,63}$" },
                { "type": "integer", "minimum": 1, "maximum": 65535 },
            ],
            "examples": ["http", 8080],
        })
    }
}

/// Whether all that is said of Kubernetes goes together.
fn fits(kubernetes: &Kubernetes, cx: &mut DecodeCx) -> bool {
    let url = kubernetes.url.as_ref();
    let is_https = url.is_none_or(|url| url.value.0.starts_with("https://"));
    let mut mistakes = Vec::new();
    if let Some(url) = url.filter(|url| url.value.0.contains(['?', '#'])) {
        let mistake = Diagnostic::error("a URL of an API server ends with its path").at(&url.span);
        mistakes.push(mistake.hint("`https://10.0.0.1:6443`"));
    }
    if let Some(ca) = kubernetes.ca.as_ref().filter(|_| !is_https) {
        mistakes
            .push(Diagnostic::error("without TLS, nobody shows a certificate").at(&ca.span).hint("`url: https://…`"));
    }
    if let (Some(_), Some(file)) = (&kubernetes.token, &kubernetes.token_file) {
        let mistake = Diagnostic::error("it is said twice what the API server is shown").at(&file.span);
        mistakes.push(mistake.hint("`token` or `token_file`"));
    }
    let is_sendable = |token: &&Spanned<Secret>| token.value.0.bytes().all(|byte| byte.is_ascii_graphic());
    if let Some(token) = kubernetes.token.as_ref().filter(|token| !is_sendable(token)) {
        mistakes
            .push(Diagnostic::error("the token cannot be sent: it has blanks, or what is no ASCII").at(&token.span));
    }
    let shows = kubernetes.token.is_some() || kubernetes.token_file.is_some();
    if let Some(url) = url.filter(|url| shows && !is_private(&url.value.0)) {
        let warning = Diagnostic::warning("the token goes over the network in the clear").at(&url.span);
        cx.report(warning.hint("`https://…`"));
    }
    let fits = mistakes.is_empty();
    mistakes.into_iter().for_each(|mistake| cx.report(mistake));
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_a_namespace_and_ports_a_name_or_number() {
        let service = KubernetesService::from_text("shop/orders").unwrap();
        assert_eq!((&*service.namespace, &*service.name), ("shop", "orders"));
        for wrong in ["orders", "/orders", "shop/", "a/b/c", "Shop/orders", "shop/-orders", ""] {
            assert!(KubernetesService::from_text(wrong).is_err(), "{wrong}");
        }
        assert_eq!(KubernetesPort::from_text("http-2"), Ok(KubernetesPort::Name("http-2".into())));
        assert_eq!(KubernetesPort::from_text("8080"), Ok(KubernetesPort::Number(8080)));
        for wrong in ["0", "65536", "", "HTTP", "a b"] {
            assert!(KubernetesPort::from_text(wrong).is_err(), "{wrong}");
        }
    }
}
