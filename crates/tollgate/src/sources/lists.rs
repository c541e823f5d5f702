//! Lists of networks: made of the config, and kept over reloads if they would be made alike.

use std::sync::Arc;

use tollgate_config::model::{self, Config};
use tollgate_core::address_list::AddressList;
use tollgate_core::clock::Clock;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_lists::{List, Networks};

use crate::wire::World;

/// All of a config.
#[derive(Debug, Default)]
pub(super) struct Lists(Vec<(String, model::AddressList, List)>);

impl Lists {
    /// Those that would be made as they were `before` are the same, and know what they knew.
    ///
    /// # Errors
    /// Files that cannot be used.
    pub(super) fn build(config: &Config, clock: &Clock, before: Option<&Self>) -> Result<Self, Vec<Diagnostic>> {
        let (mut made, mut mistakes) = (Vec::new(), Vec::new());
        for (name, written) in &config.lists {
            let known = before.and_then(|before| {
                before
                    .0
                    .iter()
                    .find(|(own, like, _)| *own == name.value && like == written)
                    .map(|(.., list)| list.clone())
            });
            let list = known.map_or_else(|| list(&name.value, written, clock), Ok);
            match list {
                Ok(list) => made.push((name.value.clone(), written.clone(), list)),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if mistakes.is_empty() { Ok(Self(made)) } else { Err(mistakes) }
    }

    /// As policies know them.
    pub(super) fn all(&self) -> Vec<Arc<dyn AddressList>> {
        self.0.iter().map(|(.., list)| Arc::new(list.clone()) as Arc<dyn AddressList>).collect()
    }

    /// Has the files read and followed from now on. Blocks.
    pub(super) fn start(&self, world: &World) {
        self.0.iter().for_each(|(.., list)| list.start(&world.slow));
    }
}

fn list(name: &str, written: &model::AddressList, clock: &Clock) -> Result<List, Diagnostic> {
    let list = unread(name, written, clock);
    list.look().map(|()| list).map_err(|error| {
        let mistake = Diagnostic::error(format!("the list `{name}` cannot be used: {error}"));
        let file = written.file.as_ref();
        file.map_or(mistake.clone(), |file| mistake.at(&file.span))
            .hint("a network or an address per line: `10.0.0.0/8`")
    })
}

/// Of which nothing is read yet.
fn unread(name: &str, written: &model::AddressList, clock: &Clock) -> List {
    let networks: Networks = written.networks.iter().flatten().map(|network| network.0).collect();
    List::new(name, networks, written.file.as_ref().map(|file| file.value.0.clone()), clock)
}

/// All of a config, for who only looks at it: of files that cannot be read nothing is known.
pub(super) fn named(config: &Config) -> Vec<Arc<dyn AddressList>> {
    let one = |(name, written): &(Spanned<String>, model::AddressList)| {
        let list = unread(&name.value, written, &Clock::real());
        list.read();
        Arc::new(list) as Arc<dyn AddressList>
    };
    config.lists.iter().map(one).collect()
}

/// Looks whether the files of all can be used.
///
/// # Errors
/// Those that cannot.
pub(super) fn check(config: &Config) -> Result<(), Vec<Diagnostic>> {
    Lists::build(config, &Clock::real(), None).map(drop)
}
