//! Ids as decimal text: one grammar for numbers and strings, in JSON and beside it.

use dataflows::{Article, Channel, User};

/// The most bytes of a user's id.
const MAX_USER: usize = 256;

/// The most digits of any id.
const MAX_DIGITS: usize = 19;

/// Splits behind the channel that `0|[1-9][0-9]*` names, up to `i32::MAX`.
#[inline]
pub(super) fn channel(text: &[u8]) -> Option<(Channel, &[u8])> {
    let (number, rest) = decimal(text)?;
    let number = u32::try_from(number).ok()?;
    (number <= i32::MAX as u32).then_some((Channel(number), rest))
}

/// Splits behind the article that `0|-?[1-9][0-9]*` names, in the range of an `i64`.
#[inline]
pub(super) fn article(text: &[u8]) -> Option<(Article, &[u8])> {
    let (number, rest) = match text {
        [b'-', text @ ..] => {
            let (number, rest) = decimal(text).filter(|&(number, _)| number != 0)?;
            (0i64.checked_sub_unsigned(number), rest)
        }
        _ => {
            let (number, rest) = decimal(text)?;
            (i64::try_from(number).ok(), rest)
        }
    };
    Some((Article(number?), rest))
}

/// The user whose id is a string of these bytes.
pub(super) fn user(text: &[u8]) -> Option<User> {
    (1..=MAX_USER).contains(&text.len()).then(|| User::from_bytes(text))
}

/// Takes what was split off, if nothing is left behind it.
pub(super) fn whole<T>((id, rest): (T, &[u8])) -> Option<T> {
    rest.is_empty().then_some(id)
}

/// Splits behind the number that `0|[1-9][0-9]{0,18}` names, as far as digits stand.
#[inline]
pub(super) fn decimal(text: &[u8]) -> Option<(u64, &[u8])> {
    let (mut number, mut rest) = (0u64, text);
    // Twenty digits are too many: three steps see them.
    for _ in 0..3 {
        let (part, digits) = up_to_eight_digits(rest);
        number = number.wrapping_mul(10u64.pow(digits as u32)).wrapping_add(part);
        rest = &rest[digits..];
        if digits < 8 {
            break;
        }
    }
    let digits = text.len() - rest.len();
    let canonical = digits == 1 || (2..=MAX_DIGITS).contains(&digits) && text[0] != b'0';
    canonical.then_some((number, rest))
}

/// Reads the digits that `text` begins with, eight at the most: their number and how many they are.
#[inline]
fn up_to_eight_digits(text: &[u8]) -> (u64, usize) {
    const ONES: u64 = u64::MAX / 255;
    let eight = text.first_chunk().copied().unwrap_or_else(|| {
        let mut padded = [0; 8];
        padded[..text.len()].copy_from_slice(text);
        padded
    });
    // The first digit is in the lowest byte. A byte is a digit if it lies no more than 9 above '0';
    // a carry out of a byte that does not can only reach those behind it.
    let values = u64::from_le_bytes(eight) ^ (ONES * b'0' as u64);
    let others = (values.wrapping_add(ONES * 0x76) | values) & (ONES << 7);
    let digits = others.trailing_zeros() as usize / 8;
    if digits == 0 {
        return (0, 0);
    }
    // Zeros go before the digits; then neighbours are joined: to pairs, to fours, to eight.
    let ones = values << (64 - 8 * digits);
    let pairs = ones.wrapping_mul(10 << 8 | 1) >> 8 & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_ffff_0000_ffff;
    (fours.wrapping_mul(10_000 << 32 | 1) >> 32, digits)
}
