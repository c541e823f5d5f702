//! `cluster`: where several gateways keep together what none of them must forget.

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_core::section;
use tollgate_core::text::{FromText, decode_from_text, text_schema};

use crate::model::auth::secret::Secret;
use crate::model::auth::url::{Url, is_private};
use crate::model::defaults::v1;
use crate::model::tls::ServiceTls;

/// Most members that may be named.
const MOST_MEMBERS: usize = 16;

section! {
    /// An etcd cluster (3.4 or later), in which several gateways keep together what none of them must forget.
    pub struct Cluster: fits {
        /// Members of etcd, `https://etcd-1:2379`: whichever of them answers is asked.
        etcd: Spanned<Vec<Spanned<MemberUrl>>>,
        /// As whom the gateway comes, if etcd asks for that.
        user: Option<Spanned<String>>,
        /// That user's password.
        password: Option<Secret>,
        /// Certificates, for members with `https`; without it, whom the system trusts may vouch for them, and none is shown to them.
        tls: Option<Spanned<ServiceTls>>,
        /// What all keys begin with, before a `/`: gateways that are to share what they know have the same one.
        prefix: Spanned<KeyPrefix> = v1::ETCD_PREFIX,
    }
}

/// Where a member of etcd is: a URL without a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberUrl(pub String);

impl FromText for MemberUrl {
    const WHAT: &'static str = "the URL of a member of etcd";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let url = Url::from_text(text).map_err(|wrong| wrong.hint("`https://etcd-1:2379`"))?.0;
        let bare = url.strip_suffix('/').unwrap_or(&url);
        let authority = bare.split_once("://").map_or(bare, |(_, authority)| authority);
        if authority.contains(['/', '?', '#']) {
            return Err(Diagnostic::error(format!("`{text}` has a path")).hint("`https://etcd-1:2379`"));
        }
        Ok(Self(bare.to_owned()))
    }
}

/// What all keys begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPrefix(pub String);

impl FromText for KeyPrefix {
    const WHAT: &'static str = "what keys begin with";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let is_part = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
        };
        let is_fit = text.len() <= 64 && text.strip_prefix('/').unwrap_or(text).split('/').all(is_part);
        if is_fit {
            return Ok(Self(text.to_owned()));
        }
        Err(Diagnostic::error(format!("`{text}` cannot begin the names of keys"))
            .hint("up to 64 letters, digits and `.-_`, in parts with `/` between: `tollgate`, `shop/gateways`"))
    }
}

decode_from_text!(MemberUrl, KeyPrefix);
text_schema!(MemberUrl, "MemberUrl", "description": "The URL of a member of etcd, without a path.", "pattern": "^https?://[^/]+/?$", "examples": ["https://etcd-1:2379"]);
text_schema!(KeyPrefix, "KeyPrefix", "description": "What the names of keys begin with.", "pattern": "^/?[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$", "examples": ["tollgate"]);

/// Whether all that is said of etcd goes together.
fn fits(cluster: &Cluster, cx: &mut DecodeCx) -> bool {
    let mistake = match cluster.etcd.value.as_slice() {
        [] => Some(
            Diagnostic::error("a cluster needs at least one member")
                .at(&cluster.etcd.span)
                .hint("`etcd: [https://etcd-1:2379]`"),
        ),
        [.., last] if cluster.etcd.value.len() > MOST_MEMBERS => {
            Some(Diagnostic::error(format!("more than {MOST_MEMBERS} members")).at(&last.span))
        }
        members => with_tls(cluster, members).or_else(|| with_user(cluster)),
    };
    if let (None, Some(open)) = (&mistake, in_the_clear(cluster)) {
        let warning = Diagnostic::warning("the password goes over the network in the clear").at(&open.span);
        cx.report(warning.hint("`https://…`, or etcd on this machine"));
    }
    let fits = mistake.is_none();
    mistake.into_iter().for_each(|mistake| cx.report(mistake));
    fits
}

fn with_tls(cluster: &Cluster, members: &[Spanned<MemberUrl>]) -> Option<Diagnostic> {
    let tls = cluster.tls.as_ref()?;
    let is_used = members.iter().any(|member| member.value.0.starts_with("https://"));
    let mistake = || Diagnostic::error("without TLS, nobody shows a certificate").at(&tls.span);
    (!is_used).then(|| mistake().hint("`https://…` under `etcd`"))
}

fn with_user(cluster: &Cluster) -> Option<Diagnostic> {
    let lone = cluster.user.as_ref().filter(|_| cluster.password.is_none())?;
    Some(Diagnostic::error("a user without a password").at(&lone.span).hint("`password: ${env:ETCD_PASSWORD}`"))
}

/// A member to which the password would go for all to read.
fn in_the_clear(cluster: &Cluster) -> Option<&Spanned<MemberUrl>> {
    cluster.password.as_ref()?;
    cluster.etcd.value.iter().find(|member| !is_private(&member.value.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_urls_without_a_path() {
        for (written, read) in
            [("https://etcd-1:2379", "https://etcd-1:2379"), ("http://[::1]:2379/", "http://[::1]:2379")]
        {
            assert_eq!(MemberUrl::from_text(written), Ok(MemberUrl(read.into())));
        }
        for wrong in ["etcd-1:2379", "https://etcd-1:2379/v3", "https://u:p@etcd-1:2379", "https://etcd-1?x"] {
            assert!(MemberUrl::from_text(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn prefixes_are_paths_without_an_end() {
        for prefix in ["tollgate", "/tollgate", "shop/gate.ways-2_x"] {
            assert!(KeyPrefix::from_text(prefix).is_ok(), "{prefix}");
        }
        for wrong in ["", "/", "a//b", "a/", "a b", "ä", &"x".repeat(65)] {
            assert!(KeyPrefix::from_text(wrong).is_err(), "{wrong}");
        }
    }
}
