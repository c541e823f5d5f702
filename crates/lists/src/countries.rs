//! From which country an address is, as a file in MaxMind's format has it (MaxMind DB File Format Specification 2.0), which is followed.
//!
//! All of the file is read when it changes, and of it only what is needed is kept, as a row of the addresses at which the country changes:
//! a look-up halves the row and decodes nothing, and a file that is broken somewhere is found when it is read, not when somebody asks.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use maxminddb::{PathElement, Reader, WithinOptions};
use tokio::runtime::Handle;
use tollgate_core::clock::Clock;
use tollgate_core::country::{Countries, Country};
use tollgate_core::principal::Standing;
use tollgate_follow::{Followed, read};

/// Largest file, in bytes: twice that of all cities.
const LARGEST: u64 = 256 << 20;
/// Most networks of a file: few bytes may stand for more than there is memory.
const MOST: usize = 16_000_000;

/// The countries of a file. Cheap to copy.
#[derive(Clone)]
pub struct CountryFile(Arc<Inner>);

struct Inner {
    path: PathBuf,
    file: Arc<Followed<Table>>,
}

impl CountryFile {
    /// Those of this file, which is read with [`CountryFile::start`].
    #[must_use]
    pub fn new(path: PathBuf, clock: &Clock) -> Self {
        let file = Followed::new(path.clone(), LARGEST, clock.clone(), parse);
        Self(Arc::new(Inner { path, file }))
    }

    /// Looks whether the file can be used. Blocks.
    ///
    /// # Errors
    /// It cannot.
    pub fn look(&self) -> Result<(), String> {
        read(&self.0.path, LARGEST).and_then(|bytes| parse(&bytes)).map(drop)
    }

    /// Reads the file once. Blocks.
    pub fn read(&self) {
        self.0.file.look();
    }

    /// Has the file read and followed from now on. Blocks.
    pub fn start(&self, slow: &Handle) {
        self.0.file.start(slow);
    }
}

impl Countries for CountryFile {
    fn of(&self, address: IpAddr) -> Option<Country> {
        self.0.file.with(|table| table.find(address)).flatten()
    }

    fn describe(&self) -> String {
        let file = self.0.path.display();
        let kind = self.0.file.with(|table| format!("{}, {} networks", table.kind, table.networks));
        kind.map_or_else(|| file.to_string(), |kind| format!("{file} ({kind})"))
    }

    fn standing(&self) -> Standing {
        self.0.file.standing()
    }
}

impl std::fmt::Debug for CountryFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CountryFile").field("path", &self.0.path).finish_non_exhaustive()
    }
}

/// What a file says.
#[derive(Debug, Default)]
struct Table {
    /// What it calls itself.
    kind: String,
    networks: usize,
    v4: Row<u32>,
    v6: Row<u128>,
}

/// From each of these addresses on, to the next one: the country.
#[derive(Debug, Default, PartialEq)]
struct Row<A> {
    from: Vec<A>,
    country: Vec<Option<Country>>,
}

impl Table {
    fn find(&self, address: IpAddr) -> Option<Country> {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.find(address.to_bits()),
            IpAddr::V6(address) => self.v6.find(address.to_bits()),
        }
    }
}

impl<A: Copy + Ord> Row<A> {
    /// Of networks that do not lie within each other, each by its first and last address. `next`: the address behind that, if there is one.
    fn of(mut networks: Vec<(A, A, Country)>, next: impl Fn(A) -> Option<A>) -> Self {
        networks.sort_unstable_by_key(|(first, ..)| *first);
        let mut row = Self { from: Vec::new(), country: Vec::new() };
        let mut behind = None;
        for (first, last, country) in networks {
            if behind.is_some_and(|behind| behind < first) {
                row.change(behind.unwrap_or(first), None);
            }
            row.change(first, Some(country));
            behind = next(last);
        }
        if let Some(behind) = behind {
            row.change(behind, None);
        }
        row
    }

    fn change(&mut self, from: A, country: Option<Country>) {
        if self.country.last().copied().flatten() != country || self.from.is_empty() {
            self.from.push(from);
            self.country.push(country);
        }
    }

    fn find(&self, address: A) -> Option<Country> {
        let at = self.from.partition_point(|from| *from <= address).checked_sub(1)?;
        self.country.get(at).copied().flatten()
    }
}

fn parse(bytes: &[u8]) -> Result<Table, String> {
    // A file that makes its reader fail must not take the gateway with it.
    catch_unwind(AssertUnwindSafe(|| table(bytes))).unwrap_or_else(|_| Err("it is broken".to_owned()))
}

fn table(bytes: &[u8]) -> Result<Table, String> {
    let reader = Reader::from_source(bytes).map_err(|error| error.to_string())?;
    let path = [PathElement::Key("country"), PathElement::Key("iso_code")];
    // Few records, shared by many networks.
    let mut known: HashMap<usize, Option<Country>> = HashMap::new();
    let (mut v4, mut v6, mut count) = (Vec::new(), Vec::new(), 0_usize);
    for network in reader.networks(WithinOptions::default()).map_err(|error| error.to_string())? {
        let network = network.map_err(|error| error.to_string())?;
        count += 1;
        if count > MOST {
            return Err(format!("it has more than {MOST} networks"));
        }
        let Some(offset) = network.offset() else { continue };
        let country = match known.get(&offset) {
            Some(country) => *country,
            None => {
                let code: Option<&str> = network.decode_path(&path).map_err(|error| error.to_string())?;
                let country = code.and_then(Country::read);
                known.insert(offset, country);
                country
            }
        };
        let Some(country) = country else { continue };
        let network = network.network().map_err(|error| error.to_string())?;
        match (network.network(), network.broadcast()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => v4.push((first.to_bits(), last.to_bits(), country)),
            (IpAddr::V6(first), IpAddr::V6(last)) => add6(first, last, country, &mut v4, &mut v6),
            _ => return Err("it is broken".to_owned()),
        }
    }
    if v4.is_empty() && v6.is_empty() {
        return Err("no network in it has a `country.iso_code`: a database of countries or cities does".to_owned());
    }
    let kind = reader.metadata().database_type.clone();
    let (v4, v6) = (Row::of(v4, |last| last.checked_add(1)), Row::of(v6, |last| last.checked_add(1)));
    Ok(Table { kind, networks: count, v4, v6 })
}

/// Adds a network of IPv6. The first 2^32 of its addresses are those of IPv4, in files that have both.
fn add6(
    first: Ipv6Addr,
    last: Ipv6Addr,
    country: Country,
    v4: &mut Vec<(u32, u32, Country)>,
    v6: &mut Vec<(u128, u128, Country)>,
) {
    match (u32::try_from(first.to_bits()), u32::try_from(last.to_bits())) {
        (Ok(first), Ok(last)) => v4.push((first, last, country)),
        (Ok(first), Err(_)) => {
            v4.push((first, Ipv4Addr::BROADCAST.to_bits(), country));
            v6.push((first.into(), last.to_bits(), country));
        }
        _ => v6.push((first.to_bits(), last.to_bits(), country)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_knows_where_countries_begin_and_end() {
        let country = |text| Country::read(text).unwrap();
        let (de, at) = (country("DE"), country("AT"));
        let row = Row::of(vec![(20, 29, de), (0, 9, at), (10, 19, de), (40, 255, at)], |last: u8| last.checked_add(1));
        for (address, found) in [
            (0, Some(at)),
            (9, Some(at)),
            (10, Some(de)),
            (29, Some(de)),
            (30, None),
            (39, None),
            (40, Some(at)),
            (255, Some(at)),
        ] {
            assert_eq!(row.find(address), found, "{address}");
        }
        assert_eq!(row.from.len(), 4, "neighbours of one country are one");
        assert_eq!(Row::<u8>::default().find(7), None);
    }

    #[test]
    fn what_is_no_database_is_refused() {
        for bytes in [
            &b""[..],
            b"nonsense",
            &[0xff; 4096],
            b"\xab\xcd\xefMaxMind.com",
            b"\xab\xcd\xefMaxMind.com\xe1\x4anode_count",
        ] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
    }
}
