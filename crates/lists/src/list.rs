//! A list by its name: networks that are written, and those of a file.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;
use tollgate_core::address_list::AddressList;
use tollgate_core::clock::Clock;
use tollgate_core::principal::Standing;
use tollgate_follow::{Followed, read};

use crate::Networks;

/// Largest file, in bytes: some three million networks.
const LARGEST: u64 = 64 << 20;

/// A list. Cheap to copy.
#[derive(Clone)]
pub struct List(Arc<Inner>);

struct Inner {
    name: String,
    written: Networks,
    file: Option<(PathBuf, Arc<Followed<Networks>>)>,
}

fn parse(text: &[u8]) -> Result<Networks, String> {
    Networks::read(std::str::from_utf8(text).map_err(|_| "it is no text".to_owned())?)
}

impl List {
    /// Of these networks, and those of a file, which is read with [`List::start`].
    #[must_use]
    pub fn new(name: &str, written: Networks, file: Option<PathBuf>, clock: &Clock) -> Self {
        let file = file.map(|path| (path.clone(), Followed::new(path, LARGEST, clock.clone(), parse)));
        Self(Arc::new(Inner { name: name.to_owned(), written, file }))
    }

    /// Looks whether the file can be used. Blocks.
    ///
    /// # Errors
    /// It cannot.
    pub fn look(&self) -> Result<(), String> {
        let Some((path, _)) = &self.0.file else { return Ok(()) };
        read(path, LARGEST).and_then(|text| parse(&text)).map(drop)
    }

    /// Reads the file once. Blocks.
    pub fn read(&self) {
        if let Some((_, file)) = &self.0.file {
            file.look();
        }
    }

    /// Has the file read and followed from now on. Blocks.
    pub fn start(&self, slow: &Handle) {
        if let Some((_, file)) = &self.0.file {
            file.start(slow);
        }
    }
}

impl AddressList for List {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn smallest_with(&self, address: IpAddr) -> Option<u8> {
        let of_file = self.0.file.as_ref().and_then(|(_, file)| file.with(|networks| networks.smallest_with(address)));
        self.0.written.smallest_with(address).max(of_file.flatten())
    }

    fn describe(&self) -> String {
        let of_file = self.0.file.as_ref().and_then(|(_, file)| file.with(Networks::len));
        format!("{} ({} networks)", self.0.name, self.0.written.len() + of_file.unwrap_or(0))
    }

    fn standing(&self) -> Standing {
        self.0.file.as_ref().map_or(Standing::Good, |(_, file)| file.standing())
    }
}

impl std::fmt::Debug for List {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("List").field("name", &self.0.name).finish_non_exhaustive()
    }
}
