//! For tests: raw peers, fake clock, policy bench.
