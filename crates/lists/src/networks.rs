//! A set of networks, asked for the smallest one that an address is in.
//!
//! Made once, of networks that may lie within each other, as one row of the addresses at which the answer changes: to look one up
//! is to halve the row, twenty times for a million of them.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    v4: Row<u32>,
    v6: Row<u128>,
    count: usize,
}

/// From each of these addresses on, to the next one: the prefix of the smallest network that they are in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Row<A> {
    from: Vec<A>,
    prefix: Vec<Option<u8>>,
}

impl Networks {
    /// How many they are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The length of the prefix of the smallest network that has this address, in bits. IPv4 addresses in IPv6 form count as IPv4.
    #[must_use]
    pub fn smallest_with(&self, address: IpAddr) -> Option<u8> {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.find(address.to_bits()),
            IpAddr::V6(address) => self.v6.find(address.to_bits()),
        }
    }

    /// Reads a file: a network or an address per line; what is behind `#` or `;` is a comment. Bits behind the prefix do not count.
    ///
    /// # Errors
    /// The first line that is neither, with its number.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut all = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.split(['#', ';']).next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let network = line.parse().or_else(|_| line.parse::<IpAddr>().map(IpNet::from));
            all.push(network.map_err(|_| format!("line {}: `{line}` is no network", number + 1))?);
        }
        Ok(all.into_iter().collect())
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<T: IntoIterator<Item = IpNet>>(networks: T) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(network) => v4.push(ends(network)),
                IpNet::V6(network) => v6.push(ends6(network)),
            }
        }
        let count = v4.len() + v6.len();
        Self { v4: Row::of(v4, |last| last.checked_add(1)), v6: Row::of(v6, |last| last.checked_add(1)), count }
    }
}

/// First and last address, and the prefix.
fn ends(network: Ipv4Net) -> (u32, u32, u8) {
    (network.network().to_bits(), network.broadcast().to_bits(), network.prefix_len())
}

fn ends6(network: Ipv6Net) -> (u128, u128, u8) {
    (network.network().to_bits(), network.broadcast().to_bits(), network.prefix_len())
}

impl<A: Copy + Ord> Row<A> {
    /// `next`: the address behind that; `None`: there is none.
    fn of(mut networks: Vec<(A, A, u8)>, next: impl Fn(A) -> Option<A>) -> Self {
        // Those around others come before them.
        networks.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.2.cmp(&b.2)));
        networks.dedup();
        let mut row = Self { from: Vec::new(), prefix: Vec::new() };
        // The networks that we are in, from the largest to the smallest.
        let mut within: Vec<(A, u8)> = Vec::new();
        for (first, last, prefix) in networks {
            row.leave(&mut within, Some(first), &next);
            row.change(first, Some(prefix));
            within.push((last, prefix));
        }
        row.leave(&mut within, None, &next);
        row
    }

    /// Leaves the networks that end before this address; all of them before `None`.
    fn leave(&mut self, within: &mut Vec<(A, u8)>, before: Option<A>, next: &impl Fn(A) -> Option<A>) {
        while let Some((last, _)) =
            within.last().filter(|(last, _)| before.is_none_or(|before| *last < before)).copied()
        {
            within.pop();
            if let Some(from) = next(last) {
                self.change(from, within.last().map(|(_, prefix)| *prefix));
            }
        }
    }

    /// From here on it is this.
    fn change(&mut self, from: A, prefix: Option<u8>) {
        // Where several end or begin at the same address, the last one holds.
        if self.from.last() == Some(&from) {
            self.from.pop();
            self.prefix.pop();
        }
        if self.prefix.last().copied().flatten() != prefix {
            self.from.push(from);
            self.prefix.push(prefix);
        }
    }

    fn find(&self, address: A) -> Option<u8> {
        let at = self.from.partition_point(|from| *from <= address).checked_sub(1)?;
        self.prefix.get(at).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn networks(all: &[&str]) -> Networks {
        all.iter().map(|text| text.parse::<IpNet>().unwrap()).collect()
    }

    #[test]
    fn the_smallest_network_is_found() {
        let all = networks(&[
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.1.2.3/32",
            "192.0.2.0/24",
            "0.0.0.0/0",
            "2001:db8::/32",
            "2001:db8::1/128",
        ]);
        for (address, prefix) in [
            ("10.1.2.3", Some(32)),
            ("10.1.2.4", Some(16)),
            ("10.2.0.0", Some(8)),
            ("10.255.255.255", Some(8)),
            ("11.0.0.0", Some(0)),
            ("255.255.255.255", Some(0)),
            ("192.0.2.255", Some(24)),
            ("::ffff:10.1.2.3", Some(32)),
            ("2001:db8::1", Some(128)),
            ("2001:db8::2", Some(32)),
            ("2001:db9::", None),
            ("::", None),
        ] {
            assert_eq!(all.smallest_with(address.parse().unwrap()), prefix, "{address}");
        }
        assert_eq!((all.len(), Networks::default().is_empty()), (7, true));
    }

    #[test]
    fn a_file_has_a_network_per_line_and_comments() {
        let read = Networks::read("# bad\r\n10.0.0.0/8 ; SBL1\n\n192.0.2.7/24\n2001:db8::1 # one\n").unwrap();
        assert_eq!(read, networks(&["10.0.0.0/8", "192.0.2.0/24", "2001:db8::1/128"]));
        assert_eq!(Networks::read("10.0.0.0/8\n10.0.0/8"), Err("line 2: `10.0.0/8` is no network".to_owned()));
        assert!(Networks::read("").unwrap().is_empty());
    }

    #[test]
    fn half_a_million_networks_are_a_few_megabytes() {
        let all: Networks = (0..500_000_u32)
            .map(|n| Ipv4Net::new_assert(Ipv4Addr::from_bits(n.wrapping_mul(2_654_435_761)), 28).trunc().into())
            .collect();
        assert!(all.v4.from.len() <= 1_000_000, "{}", all.v4.from.len());
        assert_eq!(all.smallest_with(Ipv4Addr::from_bits(2_654_435_761).into()), Some(28));
    }

    proptest! {
        /// As asking one network after the other.
        #[test]
        fn as_one_after_the_other(
            all in prop::collection::vec((any::<u32>(), 0..=32_u8), 0..40),
            close in prop::collection::vec(any::<u8>(), 40),
        ) {
            let nets: Vec<Ipv4Net> = all.iter().map(|(bits, prefix)| {
                // Close to each other, so that they lie within each other.
                Ipv4Net::new_assert(Ipv4Addr::from_bits(bits & 0xff0f_00ff), *prefix).trunc()
            }).collect();
            let set: Networks = nets.iter().copied().map(IpNet::from).collect();
            let ends = nets.iter().flat_map(|net| [net.network().to_bits(), net.broadcast().to_bits()]);
            for bits in ends.zip(close).flat_map(|(end, by)| [end, end.wrapping_add(1), end.wrapping_sub(1), end ^ u32::from(by)]) {
                let address = Ipv4Addr::from_bits(bits);
                let expected = nets.iter().filter(|net| net.contains(&address)).map(Ipv4Net::prefix_len).max();
                prop_assert_eq!(set.smallest_with(address.into()), expected, "{}", address);
            }
        }
    }

    #[test]
    fn all_of_ipv6_has_an_end() {
        let all = networks(&["::/0", "ffff::/16"]);
        assert_eq!(all.smallest_with(Ipv6Addr::from_bits(u128::MAX).into()), Some(16));
        assert_eq!(all.smallest_with(Ipv6Addr::from_bits(0).into()), Some(0));
    }
}
