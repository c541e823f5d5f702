//! Services: pools, balancing, retries, timeouts.
