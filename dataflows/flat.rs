//! The records that travel, taken apart: a part of one size each, and the bytes of a user's id or the
//! neighbours of an article behind it.
//!
//! Not here: rows of the table of similar articles, which differential's own operator sends on, by its
//! own codec, once each.

use std::io::{self, Write};

use bytemuck::{Pod, Zeroable, cast_slice, pod_read_unaligned};

use crate::records::{Flat, IsPlain, Tails};
use crate::similar::Candidates;
use crate::{Action, Article, Cell, Channel, Hit, HotIncrement, NewArticle, Place, User};

macro_rules! plain {
    ($($(#[$doc:meta])* struct $name:ident { $($field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Pod, Zeroable)]
        #[repr(C)]
        pub struct $name { $($field: $type),* }

        impl IsPlain for $name {}

        #[cfg(feature = "abomonation")]
        impl abomonation::Abomonation for $name {}
    )*};
}

plain! {
    /// Of a [`Hit`].
    struct PlainHit {
        user: u64,
        article: i64,
        offset: u64,
        partition: u32,
        channel: u32,
        action: u64,
    }
    /// Of a [`HotIncrement`].
    struct PlainIncrement { channel: u64, article: i64, weight: u64 }
    /// Of a [`NewArticle`].
    struct PlainArticle {
        article: i64,
        timestamp: u64,
        offset: u64,
        partition: u32,
        channel: u32,
        has_timestamp: u64,
    }
    /// Of [`Candidates`].
    struct PlainCandidates {
        user: u64,
        offset: u64,
        partition: u32,
        channel: u32,
        neighbours: u64,
    }
}

/// The least number that is no decimal id. From here on it is the length of an id's bytes, more by this.
const BYTES: u64 = 10_u64.pow(19);

#[inline]
fn plain_user(user: &User) -> u64 {
    match user.as_decimal() {
        Ok(number) => number,
        Err(bytes) => BYTES + bytes.len() as u64,
    }
}

#[inline]
fn user_tail(user: &User) -> &[u8] {
    user.as_decimal().err().unwrap_or_default()
}

#[inline]
fn restore_user(plain: u64, tails: &mut Tails<'_>) -> Option<User> {
    Some(match plain.checked_sub(BYTES) {
        None => User::from_decimal(plain),
        Some(length) => User::from_bytes(tails.take(usize::try_from(length).ok()?)?),
    })
}

impl Flat for Hit {
    type Plain = PlainHit;

    #[inline]
    fn plain(&self) -> PlainHit {
        let Hit { user, channel, article, action, place } = self;
        PlainHit {
            user: plain_user(user),
            article: article.0,
            offset: place.offset,
            partition: place.partition,
            channel: channel.0,
            action: match action {
                Action::Click => 0,
                Action::Collect => 1,
                Action::Share => 2,
            },
        }
    }

    #[inline]
    fn tail_bytes(&self) -> usize {
        user_tail(&self.user).len()
    }

    fn write_tail(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(user_tail(&self.user))
    }

    #[inline]
    fn restore(plain: &PlainHit, tails: &mut Tails<'_>) -> Option<Hit> {
        let PlainHit { user, article, offset, partition, channel, action } = *plain;
        Some(Hit {
            user: restore_user(user, tails)?,
            channel: Channel(channel),
            article: Article(article),
            action: match action {
                0 => Action::Click,
                1 => Action::Collect,
                2 => Action::Share,
                _ => return None,
            },
            place: Place { partition, offset },
        })
    }
}

impl Flat for HotIncrement {
    type Plain = PlainIncrement;

    #[inline]
    fn plain(&self) -> PlainIncrement {
        let HotIncrement { channel, article, weight } = *self;
        PlainIncrement { channel: channel.0.into(), article: article.0, weight }
    }

    #[inline]
    fn restore(plain: &PlainIncrement, _: &mut Tails<'_>) -> Option<HotIncrement> {
        let PlainIncrement { channel, article, weight } = *plain;
        let channel = Channel(channel.try_into().ok()?);
        Some(HotIncrement { channel, article: Article(article), weight })
    }
}

impl Flat for NewArticle {
    type Plain = PlainArticle;

    #[inline]
    fn plain(&self) -> PlainArticle {
        let NewArticle { channel, article, timestamp, place } = *self;
        PlainArticle {
            article: article.0,
            timestamp: timestamp.unwrap_or_default(),
            offset: place.offset,
            partition: place.partition,
            channel: channel.0,
            has_timestamp: timestamp.is_some().into(),
        }
    }

    #[inline]
    fn restore(plain: &PlainArticle, _: &mut Tails<'_>) -> Option<NewArticle> {
        let PlainArticle { article, timestamp, offset, partition, channel, has_timestamp } = *plain;
        let timestamp = match has_timestamp {
            0 => None,
            1 => Some(timestamp),
            _ => return None,
        };
        let place = Place { partition, offset };
        Some(NewArticle { channel: Channel(channel), article: Article(article), timestamp, place })
    }
}

impl Flat for Candidates {
    type Plain = PlainCandidates;

    #[inline]
    fn plain(&self) -> PlainCandidates {
        let Candidates { cell: Cell { user, channel }, place, neighbours } = self;
        PlainCandidates {
            user: plain_user(user),
            offset: place.offset,
            partition: place.partition,
            channel: channel.0,
            neighbours: neighbours.len() as u64,
        }
    }

    #[inline]
    fn tail_bytes(&self) -> usize {
        user_tail(&self.cell.user).len() + size_of_val(&*self.neighbours)
    }

    fn write_tail(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(user_tail(&self.cell.user))?;
        to.write_all(cast_slice(&self.neighbours))
    }

    #[inline]
    fn restore(plain: &PlainCandidates, tails: &mut Tails<'_>) -> Option<Candidates> {
        let PlainCandidates { user, offset, partition, channel, neighbours } = *plain;
        let cell = Cell { user: restore_user(user, tails)?, channel: Channel(channel) };
        let bytes = usize::try_from(neighbours).ok()?.checked_mul(size_of::<Article>())?;
        let neighbours = tails.take(bytes)?.chunks_exact(size_of::<Article>());
        let neighbours = neighbours.map(pod_read_unaligned).collect();
        Some(Candidates { cell, place: Place { partition, offset }, neighbours })
    }
}
