//! The list of policies, one file each.
