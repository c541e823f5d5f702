//! Names and passwords that a directory is asked about.

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_core::section;
use tollgate_core::units::{Bounded, Period};

use crate::model::auth::secret::Secret;
use crate::model::auth::url::{Url, is_private};
use crate::model::defaults::v1;
use crate::model::tls::FilePath;
use tollgate_core::text::{FromText, decode_from_text, text_schema};

/// Where a directory is: `ldaps`, or `ldap`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdapUrl {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether TLS is spoken from the first byte.
    pub is_tls: bool,
}

impl FromText for LdapUrl {
    const WHAT: &'static str = "a URL of a directory";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let wrong =
            || Diagnostic::error(format!("`{text}` is no URL of a directory")).hint("`ldaps://ldap.example.com`");
        let rest = text.strip_prefix("ldaps://").or_else(|| text.strip_prefix("ldap://")).ok_or_else(wrong)?;
        // What stands behind the host would be a search, and those have keys of their own.
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '[']) {
            return Err(wrong());
        }
        Url::from_text(&format!("https://{authority}")).map_err(|_| wrong())?;
        let is_tls = text.starts_with("ldaps");
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
            None => (authority, if is_tls { 636 } else { 389 }),
        };
        Ok(Self { host: host.to_owned(), port, is_tls })
    }
}

decode_from_text!(LdapUrl);
text_schema!(LdapUrl, "LdapUrl", "description": "Where a directory is.", "pattern": "^ldaps?://[^/]+/?$", "examples": ["ldaps://ldap.example.com"]);

section! {
    /// A source of identity: names and passwords (RFC 7617) that a directory is asked about (LDAP, Active Directory).
    pub struct Ldap: fits {
        /// The directory.
        ldap: Spanned<LdapUrl>,
        /// Whether TLS begins once the server agreed to it (StartTLS), for `ldap://`. Without TLS, a directory is asked on this machine only.
        starttls: bool = v1::LDAP_STARTTLS,
        /// As whom users are bound: `uid={user},ou=people,dc=example,dc=com`, or `{user}@example.com`. Without it, as the entry that
        /// `users` finds.
        user: Option<Spanned<String>>,
        /// The gateway's own account, by which users and groups are searched for.
        bind: Option<Spanned<String>>,
        /// The password of that account.
        password: Option<Secret>,
        /// How a user's entry is found.
        users: Option<LdapUsers>,
        /// How a user's groups are found: they become the claim `groups`.
        groups: Option<LdapGroups>,
        /// The attributes of the user's entry that become claims.
        attributes: Option<Vec<Spanned<String>>>,
        /// The attribute by which users are known. Without it, by the names they give, which directories take in any case of letters.
        subject: Option<String>,
        /// The certificates of those who may vouch for the directory (PEM); without it, whom the system trusts.
        ca: Option<Spanned<FilePath>>,
        /// How long the directory may take in all.
        timeout: Period = v1::AUTH_TIMEOUT,
        /// For how long it holds that a password was right: so long may an old one still pass.
        cache: Period = v1::LDAP_CACHE,
        /// For how long it holds that one was wrong.
        negative: Period = v1::INTROSPECTION_NEGATIVE,
        /// Most connections to the directory.
        pool: Bounded<2, 1000> = v1::LDAP_POOL,
        /// Most passwords that are asked about at a time; what comes beyond that is answered 503.
        at_once: Bounded<1, 10_000> = v1::LDAP_AT_ONCE,
        /// About how many names with passwords are remembered.
        remember: Bounded<0, 10_000_000> = v1::AUTH_REMEMBER,
    }
}

section! {
    /// Where users are.
    pub struct LdapUsers {
        /// Below which entry.
        below: String,
        /// Which one it is: `(uid={user})`.
        filter: Spanned<String>,
    }
}

section! {
    /// Where groups are: entries of their own, or an attribute of the user's.
    pub struct LdapGroups {
        /// Below which entry.
        below: Option<String>,
        /// Which ones are the user's: `(member={dn})`, `(memberUid={user})`.
        filter: Option<Spanned<String>>,
        /// The attribute that is a group's name.
        name: String = v1::LDAP_GROUP_NAME,
        /// The attribute of the user's own entry that names the groups, instead of all that: `memberOf`.
        attribute: Option<String>,
    }
}

/// Claims that are not the directory's to say.
const OWN: [&str; 15] = [
    "sub",
    "iss",
    "aud",
    "exp",
    "nbf",
    "iat",
    "scope",
    "scp",
    "groups",
    "dn",
    "client_id",
    "azp",
    "appid",
    "cid",
    "consumer",
];

fn fits(written: &Ldap, cx: &mut DecodeCx) -> bool {
    let mut mistakes = Vec::new();
    let at = &written.ldap.span;
    let url = &written.ldap.value;
    if !url.is_tls && !written.starttls && !is_private(&format!("http://{}:{}/", url.host, url.port)) {
        let mistake = Diagnostic::error("passwords would cross the network in the open").at(at);
        mistakes.push(mistake.hint("`ldaps://…`, or `starttls: true`"));
    }
    if url.is_tls && written.starttls {
        mistakes.push(Diagnostic::error("`ldaps://` has TLS from the first byte: no `starttls`").at(at));
    }
    if written.bind.is_some() != written.password.is_some() {
        mistakes.push(Diagnostic::error("`bind` and `password` go together: the gateway's own account").at(at));
    }
    if written.bind.as_ref().is_some_and(|bind| bind.value.is_empty()) {
        mistakes.push(Diagnostic::error("an account without a name is nobody's").at(at));
    }
    match (&written.user, &written.bind, &written.users) {
        (Some(_), ..) | (None, Some(_), Some(_)) => {}
        _ => mistakes.push(
            Diagnostic::error("nothing says who users are in the directory")
                .at(at)
                .hint("`user: \"uid={user},ou=people,dc=example,dc=com\"`, or `bind`, `password` and `users`"),
        ),
    }
    let is_dn = written.user.as_ref().is_none_or(|user| user.value.contains('='));
    let groups = written.groups.as_ref();
    let is_by_entry = written.attributes.is_some()
        || written.subject.is_some()
        || groups.is_some_and(|groups| {
            groups.attribute.is_some() || groups.filter.as_ref().is_some_and(|filter| filter.value.contains("{dn}"))
        });
    if !is_dn && written.users.is_none() && is_by_entry {
        let mistake = Diagnostic::error("with such a `user`, nobody knows which entry is the user's").at(at);
        mistakes.push(mistake.hint("`users: { below: \"dc=example,dc=com\", filter: \"(sAMAccountName={user})\" }`"));
    }
    if let Some(users) = &written.users
        && users.filter.value.contains("{dn}")
    {
        mistakes
            .push(Diagnostic::error("the entry is what `users` finds: there is no `{dn}` yet").at(&users.filter.span));
    }
    if groups.is_some_and(|all| {
        (all.below.is_some() != all.filter.is_some()) || (all.below.is_some() == all.attribute.is_some())
    }) {
        let mistake = Diagnostic::error("groups are found by `below` and `filter`, or by `attribute`").at(at);
        mistakes.push(mistake.hint("`groups: { below: \"ou=groups,dc=example,dc=com\", filter: \"(member={dn})\" }`"));
    }
    for name in written.attributes.iter().flatten().filter(|name| OWN.contains(&name.value.as_str())) {
        mistakes
            .push(Diagnostic::error(format!("`{}` has a meaning of its own as a claim", name.value)).at(&name.span));
    }
    let is_well = mistakes.is_empty();
    mistakes.into_iter().for_each(|mistake| cx.report(mistake));
    is_well
}
