//! Plain parts in the form of the crate `abomonation`: off by default, here to be measured.
//!
//! It writes a vector as it lies in memory, its pointer included, and makes it valid where it was read by
//! writing the new pointer over the old one. So nothing is validated, and it is unsound by itself
//! (RUSTSEC-2021-0120): a length that is not true is believed, and what is nested comes to lie where its
//! type may not. Here it gets what it can bear: parts of one size that any bytes are, copied into a
//! buffer that lies right, from a process that has proved to know the secret. It is no faster.

#![allow(unsafe_code, reason = "abomonation has no other interface")]

use std::io::Write;

use bytemuck::cast_slice_mut;

use super::{Codec, IsPlain};

/// `abomonation`'s form of a vector of plain parts.
#[derive(Debug)]
pub struct Abomonated;

impl Codec for Abomonated {
    fn length<P: IsPlain>(count: usize) -> usize {
        size_of::<Vec<P>>() + count * size_of::<P>()
    }

    fn write<P: IsPlain>(
        parts: impl Iterator<Item = P>,
        to: &mut impl Write,
    ) -> std::io::Result<()> {
        let parts: Vec<P> = parts.collect();
        // SAFETY: parts have no padding (they are `Pod`); that a vector has none either is what the crate
        // relies on.
        unsafe { abomonation::encode(&parts, to) }
    }

    fn read<P: IsPlain>(
        bytes: &[u8],
        count: usize,
        mut each: impl FnMut(&P) -> Option<()>,
    ) -> Option<()> {
        const { assert!(align_of::<P>() <= align_of::<u64>()) };
        let mut aligned = vec![0_u64; bytes.len().div_ceil(size_of::<u64>())];
        let aligned = &mut cast_slice_mut::<u64, u8>(&mut aligned)[..bytes.len()];
        aligned.copy_from_slice(bytes);
        // SAFETY: the buffer lies as parts must, and is theirs; it was written by `write` of the same
        // program with the same feature: processes agree about that before they speak of anything else.
        let (parts, rest) = unsafe { abomonation::decode::<Vec<P>>(aligned) }?;
        if parts.len() != count || !rest.is_empty() {
            return None;
        }
        parts.iter().try_for_each(&mut each)
    }
}
