//! Certificates of clients.

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_core::section;
use tollgate_core::units::Bounded;

use crate::model::auth::AuthSource;
use crate::model::auth::bound::{Bound, ProxysWord};
use crate::model::defaults::v1;
use crate::model::listen::Listener;
use crate::model::tls::FilePath;
use crate::model::trust::Trust;
use tollgate_core::text::words;

section! {
    /// A source of identity: certificates of clients, as the `client` of a listener's `tls` asks for them.
    pub struct CertificateAuth: fits {
        /// Which name of a certificate says who calls.
        certificate: Spanned<CertificateName>,
        /// Which name says by what application they call: what conditions know as `consumer`. Without it, the same.
        consumer: Option<CertificateName>,
        /// Which names are let in: `*` stands for one part of a name, `**` for any number of them. Without it, all of which a certificate has
        /// one only.
        names: Option<Spanned<Vec<String>>>,
        /// Of which trust domains SPIFFE IDs are let in; without it, all.
        domains: Option<Spanned<Vec<String>>>,
        /// The certificates of those who have to vouch for a client (PEM); without it, those that the listener names.
        ca: Option<Spanned<FilePath>>,
        /// What becomes of certificates that a proxy of `trust` forwards (`Client-Cert`, RFC 9440). Such a proxy's own certificate never
        /// says who calls.
        forwarded: Spanned<ForwardedCertificate> = v1::CERTIFICATE_FORWARDED,
        /// About how many certificates are remembered.
        remember: Bounded<0, 10_000_000> = v1::AUTH_REMEMBER,
    }
}

words! {
    /// Which name of a certificate says who somebody is.
    pub enum CertificateName {
        /// The whole subject, as RFC 4514 writes it: `CN=alice,O=Example`.
        Subject = "subject",
        /// The common name of the subject.
        CommonName = "cn",
        /// The alternative name that is one of the DNS.
        Dns = "dns",
        /// The alternative name that is a URI.
        Uri = "uri",
        /// The alternative name that is a mail address.
        Email = "email",
        /// The URI, which has to be a SPIFFE ID.
        Spiffe = "spiffe",
    }
}

words! {
    /// What becomes of certificates that a trusted proxy forwards.
    pub enum ForwardedCertificate {
        /// They are not looked at.
        Ignored = "ignored",
        /// They are taken if those of `ca` vouch for them.
        Verified = "verified",
        /// They are taken on the proxy's word.
        Believed = "believed",
    }
}

/// Says if no certificate can come, or nobody could forward one.
pub(crate) fn warn(sources: &[(Spanned<String>, AuthSource)], listen: &[Listener], trust: &Trust, cx: &mut DecodeCx) {
    let asks = |listener: &Listener| listener.tls.as_ref().is_some_and(|tls| tls.client.is_some());
    for (_, source) in sources {
        let (needed, forwarded, is_forwarded) = match source {
            AuthSource::Certificates(source) => {
                let is_forwarded = source.forwarded.value != ForwardedCertificate::Ignored;
                (Some(&source.certificate.span), &source.forwarded.span, is_forwarded)
            }
            AuthSource::Tokens(source) => {
                let needed = (source.bound.value == Bound::Certificate).then_some(&source.bound.span);
                (needed, &source.forwarded.span, source.forwarded.value != ProxysWord::Ignored)
            }
            _ => continue,
        };
        if is_forwarded && trust.proxies.as_ref().is_none_or(Vec::is_empty) {
            let warning = Diagnostic::warning("no proxy is trusted that could forward certificates").at(forwarded);
            cx.report(warning.hint("`trust: { proxies: [10.0.0.7] }`: those that write `Client-Cert`"));
        }
        if let Some(needed) = needed.filter(|_| !is_forwarded && !listen.iter().any(asks)) {
            let warning = Diagnostic::warning("no listener asks clients for certificates").at(needed);
            cx.report(warning.hint("`tls: { …, client: ./clients-ca.pem }`"));
        }
    }
}

/// Whether its parts go together.
fn fits(source: &CertificateAuth, cx: &mut DecodeCx) -> bool {
    let mut well = true;
    if source.forwarded.value == ForwardedCertificate::Verified && source.ca.is_none() {
        let mistake = Diagnostic::error("nobody is named who vouches for certificates that are forwarded");
        cx.report(mistake.at(&source.forwarded.span).hint("`ca: ./clients.pem`; or `forwarded: believed`"));
        well = false;
    }
    if let Some(domains) = &source.domains {
        let is_domain = |name: &String| {
            let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
            !name.is_empty() && name.bytes().all(allowed)
        };
        if source.certificate.value != CertificateName::Spiffe {
            let mistake = Diagnostic::error("`domains` are those of SPIFFE IDs").at(&domains.span);
            cx.report(mistake.hint("`certificate: spiffe`; for other kinds of names there is `names`"));
            well = false;
        } else if domains.value.is_empty() || !domains.value.iter().all(is_domain) {
            let mistake = Diagnostic::error("no trust domains of SPIFFE").at(&domains.span);
            cx.report(mistake.hint("without `spiffe://`, in lower case: `[example.org]`"));
            well = false;
        }
    }
    if let Some(names) = source.names.as_ref().filter(|names| names.value.iter().all(String::is_empty)) {
        cx.report(Diagnostic::error("nobody is let in").at(&names.span).hint("`names: [\"*.example.org\"]`"));
        well = false;
    }
    well
}
