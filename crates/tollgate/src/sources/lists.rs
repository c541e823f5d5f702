//! Lists of networks, and the countries of addresses: made of the config, and kept over reloads if they would be made alike.

use std::path::PathBuf;
use std::sync::Arc;

use tollgate_config::model::{self, Config, FilePath};
use tollgate_core::address_list::AddressList;
use tollgate_core::clock::Clock;
use tollgate_core::country::Countries;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_lists::{CountryFile, List, Networks};

use crate::wire::World;

/// All of a config.
#[derive(Debug, Default)]
pub(super) struct Lists {
    lists: Vec<(String, model::AddressList, List)>,
    geo: Option<(PathBuf, CountryFile)>,
}

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
                    .lists
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
        let geo = config.geo.as_ref().map(|file| {
            let known = before.and_then(|before| before.geo.clone()).filter(|(path, _)| *path == file.value.0);
            known.map_or_else(|| geo(file, clock), Ok)
        });
        let geo = geo.transpose().unwrap_or_else(|mistake| {
            mistakes.push(mistake);
            None
        });
        if mistakes.is_empty() { Ok(Self { lists: made, geo }) } else { Err(mistakes) }
    }

    /// As policies know them.
    pub(super) fn all(&self) -> Vec<Arc<dyn AddressList>> {
        self.lists.iter().map(|(.., list)| Arc::new(list.clone()) as Arc<dyn AddressList>).collect()
    }

    /// Who knows the countries of addresses, as policies know it.
    pub(super) fn countries(&self) -> Option<Arc<dyn Countries>> {
        self.geo.as_ref().map(|(_, file)| Arc::new(file.clone()) as Arc<dyn Countries>)
    }

    /// Has the files read and followed from now on. Blocks.
    pub(super) fn start(&self, world: &World) {
        self.lists.iter().for_each(|(.., list)| list.start(&world.slow));
        if let Some((_, file)) = &self.geo {
            file.start(&world.slow);
        }
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

fn geo(written: &Spanned<FilePath>, clock: &Clock) -> Result<(PathBuf, CountryFile), Diagnostic> {
    let (path, span) = (&written.value.0, &written.span);
    let file = CountryFile::new(path.clone(), clock);
    file.look().map(|()| (path.clone(), file)).map_err(|error| {
        let mistake = Diagnostic::error(format!("countries from `{}`: {error}", path.display())).at(span);
        mistake.hint("a database of countries or cities in MaxMind's format: `GeoLite2-Country.mmdb`")
    })
}

/// Who knows the countries of addresses, for who only looks at a config: of a file that cannot be read nothing is known.
pub(super) fn atlas(config: &Config) -> Option<Arc<dyn Countries>> {
    let file = config.geo.as_ref().map(|written| CountryFile::new(written.value.0.clone(), &Clock::real()))?;
    file.read();
    Some(Arc::new(file))
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
