//! Sources for a rehearsal: nobody is asked, and whoever is said to call is believed.

use std::sync::Arc;
use std::time::Duration;

use tollgate_config::model::Config;
use tollgate_core::body::Recoder;
use tollgate_core::clock::Clock;
use tollgate_core::counters::Counters;
use tollgate_core::exchange::Exchange;
use tollgate_core::onward::{Exchanger, Minted, Signer, Trade};
use tollgate_core::policy::BoxFuture;
use tollgate_core::principal::{Authenticator, Bearers, Credential, Effort, Found, Principal, Sources, Standing};
use tollgate_core::problem::Problem;
use tollgate_core::reply::Reply;
use tollgate_store::MemoryCounters;

use crate::sources::named;
use crate::sources::signers::Masked;

/// The same for a rehearsal: each vouches for whoever is said to call, and limits are counted there.
pub(crate) fn vouching(config: &Config, counters: &MemoryCounters) -> Sources {
    let named = named(config);
    let all = named.all.into_iter().map(|source| Arc::new(Vouching(source)) as Arc<dyn Authenticator>).collect();
    let signers = named.signers.into_iter().map(|signer| Arc::new(Masked(signer)) as Arc<dyn Signer>).collect();
    let counters = Some(Arc::new(counters.clone()) as Arc<dyn Counters>);
    Sources { counters, all, signers, ..named }
}

#[derive(Debug)]
struct Vouching(Arc<dyn Authenticator>);

impl Authenticator for Vouching {
    fn name(&self) -> &Arc<str> {
        self.0.name()
    }

    fn authenticate<'a>(&'a self, x: &'a Exchange, effort: Effort) -> Found<'a> {
        match &x.principal {
            Some(caller) => {
                let source = Arc::clone(self.name());
                Found::Checked(Ok(Arc::new(Principal { source, ..Principal::clone(caller) })))
            }
            None => self.0.authenticate(x, effort),
        }
    }

    fn most_content(&self) -> usize {
        self.0.most_content()
    }

    fn wants_content(&self, x: &Exchange) -> bool {
        self.0.wants_content(x)
    }

    fn guard(&self, x: &Exchange) -> Option<Box<dyn Recoder>> {
        self.0.guard(x)
    }

    fn sign_in<'a>(&'a self, x: &'a Exchange) -> Option<BoxFuture<'a, Result<Reply, Problem>>> {
        self.0.sign_in(x)
    }

    fn keeps_sessions(&self) -> bool {
        self.0.keeps_sessions()
    }

    fn challenge(&self) -> String {
        self.0.challenge()
    }

    fn credential(&self) -> Credential<'_> {
        self.0.credential()
    }

    fn exchanger(&self) -> Option<&dyn Exchanger> {
        self.0.exchanger().map(|_| self as &dyn Exchanger)
    }

    fn bearers(&self) -> Bearers {
        self.0.bearers()
    }

    fn describe(&self) -> String {
        self.0.describe()
    }

    fn standing(&self) -> Standing {
        self.0.standing()
    }
}

/// What a token is traded for while nobody is asked.
impl Exchanger for Vouching {
    fn exchange(&self, trade: &Trade<'_>) -> BoxFuture<'static, Result<Minted, Problem>> {
        let token = format!("traded-for-{}", trade.audience.join("-")).into();
        let until = Clock::real().unix() + Duration::from_secs(60);
        Box::pin(std::future::ready(Ok(Minted { token, until })))
    }
}
