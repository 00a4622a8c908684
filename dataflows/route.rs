//! Which worker owns a key.

use std::hash::{Hash, Hasher};

use rustc_hash::FxHasher;

use crate::Channel;

/// Hashes a key that has one owner; the owner is the worker with the hash modulo their number.
///
/// The same on every worker, process and run. Spread evenly: the bits of the key are mixed into all
/// bits of the result.
pub(crate) fn route(key: &impl Hash) -> u64 {
    let mut hasher = FxHasher::default();
    key.hash(&mut hasher);
    mix(hasher.finish())
}

/// Which of so many workers owns the lists of a channel.
pub fn owner(channel: Channel, workers: usize) -> usize {
    (route(&channel) % workers as u64) as usize
}

/// Mixes every bit into every other: the finalizer of MurmurHash3.
pub(crate) fn mix(mut bits: u64) -> u64 {
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ (bits >> 33)
}
