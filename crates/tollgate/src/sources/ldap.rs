//! Directories: from the words of the file to the source, and the way there.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpStream;
use tollgate_config::model::{Ldap, LdapGroups};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_core::policy::BoxFuture;
use tollgate_identity::ldap::directory::{Account, Server, Tls, Way};
use tollgate_identity::ldap::template::Template;
use tollgate_identity::ldap::{Groups, Settings, Users};
use tollgate_net::tls::Client;
use tollgate_registry::dns::Dns;

use crate::sources::settings::size;

/// How a directory is asked.
///
/// # Errors
/// A name or a filter that is none.
pub(super) fn directory(written: &Ldap) -> Result<Settings, Diagnostic> {
    let url = &written.ldap.value;
    let tls = match (url.is_tls, written.starttls) {
        (true, _) => Tls::First,
        (false, true) => Tls::Start,
        (false, false) => Tls::None,
    };
    let wrong = |of: &Spanned<String>, why: String| {
        Diagnostic::error(format!("`{}` is not what is needed here", of.value)).at(&of.span).hint(why)
    };
    let filter = |text: &Spanned<String>| Template::filter(&text.value).map_err(|why| wrong(text, why));
    let account = written.bind.as_ref().zip(written.password.as_ref());
    let groups = |groups: &LdapGroups| {
        Ok(match (&groups.attribute, &groups.below, &groups.filter) {
            (Some(name), ..) => Groups::Attribute(name.clone()),
            (None, below, text) => Groups::Entries {
                below: below.clone().unwrap_or_default(),
                filter: text
                    .as_ref()
                    .map(filter)
                    .transpose()?
                    .ok_or_else(|| Diagnostic::error("groups without a filter").at(&written.ldap.span))?,
                name: groups.name.clone(),
            },
        })
    };
    let attributes = written.attributes.iter().flatten().map(|name| name.value.clone()).collect();
    Ok(Settings {
        server: Server { host: url.host.clone(), port: url.port, tls },
        user: match &written.user {
            None => None,
            Some(user) => Some(Template::name(&user.value).map_err(|why| wrong(user, why))?),
        },
        account: account.map(|(name, secret)| Account { name: name.value.clone(), password: secret.0.clone() }),
        users: match &written.users {
            None => None,
            Some(users) => Some(Users { below: users.below.clone(), filter: filter(&users.filter)? }),
        },
        groups: written.groups.as_ref().map(groups).transpose()?,
        attributes,
        subject: written.subject.clone(),
        timeout: written.timeout.0,
        cache: written.cache.0,
        negative: written.negative.0,
        pool: size(written.pool.get()),
        at_once: size(written.at_once.get()),
        remember: size(written.remember.get()),
    })
}

/// The way to a directory, with the gateway's look-ups of names and its TLS.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) tls: Arc<Client>,
    pub(super) dns: Arc<Dns>,
}

impl Way for Path {
    fn connect(&self, host: String, port: u16) -> BoxFuture<'static, Result<std::net::TcpStream, String>> {
        let dns = Arc::clone(&self.dns);
        Box::pin(async move {
            let addresses = match host.parse::<IpAddr>() {
                Ok(address) => vec![address],
                Err(_) => dns.look_up(&host).await.map_err(|error| error.to_string())?,
            };
            let mut trouble = "no addresses".to_owned();
            for address in addresses {
                match TcpStream::connect(SocketAddr::new(address, port)).await.and_then(TcpStream::into_std) {
                    Ok(stream) => return Ok(stream),
                    Err(error) => trouble = format!("{address}: {error}"),
                }
            }
            Err(trouble)
        })
    }

    fn tls(&self) -> Arc<rustls::ClientConfig> {
        self.tls.config()
    }
}
