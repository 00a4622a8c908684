//! Records on their way from worker to worker.
//!
//! Workers of one process hand them over as they are. To another process they go as bytes:
//!
//! ```text
//!  0            8            16
//!  ┌────────────┬────────────┬───────────────────────────┬───────────────────┬───────┐
//!  │ how many   │ bytes of   │ plain part of each record │ tail of each,     │ up to │
//!  │ records    │ all tails  │ (one size, see `Codec`)   │ often none        │ 7 × 0 │
//!  └────────────┴────────────┴───────────────────────────┴───────────────────┴───────┘
//! ```
//!
//! All numbers stand in the byte order of the machine: whoever takes part runs the same program, and has
//! proved to know the cluster's secret. What comes is checked all the same, since a mistake here would be
//! a recall to somebody else: bytes that are no records end the process.

#[cfg(feature = "abomonation")]
pub mod abomonated;

use std::io::Write;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::{cast_slice, pod_read_unaligned, try_cast_slice};
use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::container::{CapacityContainerBuilder, DrainContainer, PushInto, SizableContainer};
use timely::dataflow::channels::ContainerBytes;
use timely::dataflow::channels::pact::ExchangeCore;

use crate::Epoch;

/// What gathers records for a stream.
pub type Builder<R> = CapacityContainerBuilder<Records<R>>;

/// A stream of records, by epoch.
pub(crate) type Stream<'scope, R> = timely::dataflow::Stream<'scope, Epoch, Records<R>>;

/// What a worker feeds records in with.
pub type Input<R> = timely::dataflow::InputHandle<Epoch, Builder<R>>;

/// Sends each record to the worker that this hash of it names, modulo their number.
pub(crate) fn exchange<R: Flat>(
    hash: impl Fn(&R) -> u64 + 'static,
) -> ExchangeCore<Builder<R>, impl for<'a> FnMut(&'a R) -> u64 + 'static> {
    ExchangeCore::<Builder<R>, _>::new(move |record: &R| hash(record))
}

/// Some records of one epoch: a vector that knows how it travels.
#[derive(Debug)]
pub struct Records<R, C = Chosen>(Vec<R>, PhantomData<fn() -> C>);

/// How plain parts become bytes unless something else is asked for.
#[cfg(not(feature = "abomonation"))]
pub type Chosen = Plain;
/// How plain parts become bytes unless something else is asked for.
#[cfg(feature = "abomonation")]
pub type Chosen = abomonated::Abomonated;

/// A record that can be taken apart into what has the same size in each, and the rest.
pub trait Flat: Sized + 'static {
    /// The part of one size.
    type Plain: IsPlain;

    /// Its plain part; says how much of the tail is its own.
    fn plain(&self) -> Self::Plain;

    /// How many bytes its tail has.
    fn tail_bytes(&self) -> usize {
        0
    }

    /// Writes its tail.
    ///
    /// # Errors
    ///
    /// What `to` says.
    fn write_tail(&self, _to: &mut impl Write) -> std::io::Result<()> {
        Ok(())
    }

    /// Makes the record anew, and takes what is its own from the tails; none where these are not the
    /// parts of a record.
    fn restore(plain: &Self::Plain, tails: &mut Tails<'_>) -> Option<Self>;
}

/// What may be a plain part: any bytes of its size are one, and none of them is left out.
#[cfg(not(feature = "abomonation"))]
pub trait IsPlain: bytemuck::Pod {}
/// What may be a plain part: any bytes of its size are one, and none of them is left out.
#[cfg(feature = "abomonation")]
pub trait IsPlain: bytemuck::Pod + abomonation::Abomonation {}

/// How the plain parts of some records become bytes.
pub trait Codec: 'static {
    /// How many bytes so many of them take.
    fn length<P: IsPlain>(count: usize) -> usize;

    /// Writes them.
    ///
    /// # Errors
    ///
    /// What `to` says.
    fn write<P: IsPlain>(
        parts: impl Iterator<Item = P>,
        to: &mut impl Write,
    ) -> std::io::Result<()>;

    /// Reads so many from just as many bytes as they take, one after the other, until `each` wants no
    /// more or these are no such bytes: then there is none.
    fn read<P: IsPlain>(
        bytes: &[u8],
        count: usize,
        each: impl FnMut(&P) -> Option<()>,
    ) -> Option<()>;
}

/// Plain parts as they are, one behind the other.
#[derive(Debug)]
pub struct Plain;

impl Codec for Plain {
    fn length<P: IsPlain>(count: usize) -> usize {
        count * size_of::<P>()
    }

    fn write<P: IsPlain>(
        parts: impl Iterator<Item = P>,
        to: &mut impl Write,
    ) -> std::io::Result<()> {
        // All at once: each write has its price.
        to.write_all(cast_slice(&parts.collect::<Vec<P>>()))
    }

    fn read<P: IsPlain>(
        bytes: &[u8],
        _: usize,
        mut each: impl FnMut(&P) -> Option<()>,
    ) -> Option<()> {
        match try_cast_slice(bytes) {
            Ok(parts) => parts.iter().try_for_each(each),
            // Timely lets them begin where a number may; who does not has them copied.
            Err(_) => {
                let mut parts = bytes.chunks_exact(size_of::<P>()).map(pod_read_unaligned);
                parts.try_for_each(|part| each(&part))
            }
        }
    }
}

/// What is left of the tails of some records.
#[derive(Debug)]
pub struct Tails<'a>(&'a [u8]);

impl<'a> Tails<'a> {
    /// Takes so many bytes, if they are there.
    pub fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        self.0.split_off(..bytes)
    }
}

/// What stands before the plain parts.
const HEAD: usize = 16;

/// What is written is a whole number of these.
const STEP: usize = 8;

impl<R: Flat, C: Codec> Records<R, C> {
    fn tails(&self) -> usize {
        self.0.iter().map(Flat::tail_bytes).sum()
    }

    fn write(&self, to: &mut impl Write) -> std::io::Result<()> {
        let tails = self.tails();
        to.write_all(&(self.0.len() as u64).to_ne_bytes())?;
        to.write_all(&(tails as u64).to_ne_bytes())?;
        C::write(self.0.iter().map(Flat::plain), to)?;
        if tails > 0 {
            self.0.iter().try_for_each(|record| record.write_tail(to))?;
        }
        let length = C::length::<R::Plain>(self.0.len()) + tails;
        to.write_all(&[0; STEP][..length.next_multiple_of(STEP) - length])
    }

    /// Reads what was written; none where these are not the bytes of such records.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(HEAD)?;
        let number = |at: usize| {
            let bytes = head[at..at + 8].try_into().expect("it is as long");
            usize::try_from(u64::from_ne_bytes(bytes)).ok()
        };
        let (count, tails) = (number(0)?, number(8)?);
        // No more than there are bytes for, before room is made for them.
        (count <= rest.len() && tails <= rest.len()).then_some(())?;
        let (parts, rest) = rest.split_at_checked(C::length::<R::Plain>(count))?;
        let (mut tails, slop) = rest.split_at_checked(tails).map(|(it, rest)| (Tails(it), rest))?;
        let mut records = Vec::with_capacity(count);
        C::read(parts, count, |plain| {
            records.push(R::restore(plain, &mut tails)?);
            Some(())
        })?;
        let whole = records.len() == count && tails.0.is_empty() && slop.len() < STEP;
        whole.then_some(Records(records, PhantomData))
    }
}

impl<R: Flat, C: Codec> ContainerBytes for Records<R, C> {
    fn from_bytes(bytes: Bytes) -> Self {
        Records::read(&bytes).expect("what another process sends are records")
    }

    fn length_in_bytes(&self) -> usize {
        HEAD + (C::length::<R::Plain>(self.0.len()) + self.tails()).next_multiple_of(STEP)
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        self.write(writer).expect("there is room for as many bytes as were announced");
    }
}

impl<R, C> Default for Records<R, C> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<R: Clone, C> Clone for Records<R, C> {
    fn clone(&self) -> Self {
        self.0.clone().into()
    }
}

impl<R, C> From<Vec<R>> for Records<R, C> {
    fn from(records: Vec<R>) -> Self {
        Records(records, PhantomData)
    }
}

impl<R, C> Deref for Records<R, C> {
    type Target = Vec<R>;

    fn deref(&self) -> &Vec<R> {
        &self.0
    }
}

impl<R, C> DerefMut for Records<R, C> {
    fn deref_mut(&mut self) -> &mut Vec<R> {
        &mut self.0
    }
}

// As of a vector.

impl<R, C> Accountable for Records<R, C> {
    #[inline]
    fn record_count(&self) -> i64 {
        self.0.record_count()
    }
}

impl<R, C> SizableContainer for Records<R, C> {
    #[inline]
    fn at_capacity(&self) -> bool {
        self.0.at_capacity()
    }

    #[inline]
    fn ensure_capacity(&mut self, stash: &mut Option<Self>) {
        let mut room = stash.take().map(|stash| stash.0);
        self.0.ensure_capacity(&mut room);
        *stash = room.map(Records::from);
    }
}

impl<R, C> DrainContainer for Records<R, C> {
    type Item<'a>
        = R
    where
        Self: 'a;
    type DrainIter<'a>
        = std::vec::Drain<'a, R>
    where
        Self: 'a;

    #[inline]
    fn drain(&mut self) -> Self::DrainIter<'_> {
        self.0.drain(..)
    }
}

impl<R, C> PushInto<R> for Records<R, C> {
    #[inline]
    fn push_into(&mut self, record: R) {
        self.0.push(record);
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        Action, Article, Candidates, Cell, Channel, Hit, HotIncrement, NewArticle, Place, User,
    };

    fn bytes<R: Flat + Clone, C: Codec>(records: &[R]) -> Vec<u8> {
        let records = Records::<R, C>::from(records.to_vec());
        let mut bytes = Vec::new();
        records.into_bytes(&mut bytes);
        assert_eq!(bytes.len(), records.length_in_bytes(), "as announced");
        assert_eq!(bytes.len() % 8, 0, "what comes behind lies right");
        bytes
    }

    fn come_back<R: Flat + Clone + Debug + PartialEq>(records: &[R]) {
        let read = Records::<R, Plain>::read(&bytes::<R, Plain>(records));
        assert_eq!(read.as_deref().map(|read| &**read), Some(records));
        #[cfg(feature = "abomonation")]
        {
            use abomonated::Abomonated;
            let read = Records::<R, Abomonated>::read(&bytes::<R, Abomonated>(records));
            assert_eq!(read.as_deref().map(|read| &**read), Some(records));
        }
    }

    fn user() -> impl Strategy<Value = User> {
        let decimal = any::<u64>().prop_map(|id| id.to_string().into_bytes());
        let ids = prop_oneof![decimal, any::<Vec<u8>>(), Just(Vec::new())];
        ids.prop_map(|id| User::from_bytes(&id))
    }

    fn place() -> impl Strategy<Value = Place> {
        any::<(u32, u64)>().prop_map(|(partition, offset)| Place { partition, offset })
    }

    fn hit() -> impl Strategy<Value = Hit> {
        let action = prop_oneof![Just(Action::Click), Just(Action::Collect), Just(Action::Share)];
        let hit = (user(), any::<(u32, i64)>(), action, place());
        hit.prop_map(|(user, (channel, article), action, place)| Hit {
            user,
            channel: Channel(channel),
            article: Article(article),
            action,
            place,
        })
    }

    fn candidates() -> impl Strategy<Value = Candidates> {
        let candidates = (user(), any::<u32>(), place(), any::<Vec<i64>>());
        candidates.prop_map(|(user, channel, place, neighbours)| Candidates {
            cell: Cell { user, channel: Channel(channel) },
            place,
            neighbours: neighbours.into_iter().map(Article).collect(),
        })
    }

    fn new_article() -> impl Strategy<Value = NewArticle> {
        let article = (any::<(u32, i64)>(), any::<Option<u64>>(), place());
        article.prop_map(|((channel, article), timestamp, place)| NewArticle {
            channel: Channel(channel),
            article: Article(article),
            timestamp,
            place,
        })
    }

    fn increment() -> impl Strategy<Value = HotIncrement> {
        any::<(u32, i64, u64)>().prop_map(|(channel, article, weight)| HotIncrement {
            channel: Channel(channel),
            article: Article(article),
            weight,
        })
    }

    /// Reads bytes as any records: it does not panic.
    fn as_any(bytes: &[u8]) {
        drop((Records::<Hit, Plain>::read(bytes), Records::<Candidates, Plain>::read(bytes)));
        drop((
            Records::<NewArticle, Plain>::read(bytes),
            Records::<HotIncrement, Plain>::read(bytes),
        ));
    }

    /// What was cut, or has more behind it, is refused; what was changed is something else, or refused.
    fn hold<R: Flat + Clone>(records: &[R], at: prop::sample::Index, flipped: u8) {
        let mut bytes = bytes::<R, Plain>(records);
        let cut = &bytes[..at.index(bytes.len()) & !7];
        assert!(Records::<R, Plain>::read(cut).is_none());
        as_any(cut);
        let longer = [&bytes[..], &[0; 8]].concat();
        assert!(Records::<R, Plain>::read(&longer).is_none());
        as_any(&longer);
        let at = at.index(bytes.len());
        bytes[at] ^= flipped;
        as_any(&bytes);
    }

    proptest! {
        #[test]
        fn records_come_back_as_they_were(
            hits in prop::collection::vec(hit(), 0..9),
            candidates in prop::collection::vec(candidates(), 0..9),
            articles in prop::collection::vec(new_article(), 0..9),
            increments in prop::collection::vec(increment(), 0..9),
        ) {
            come_back(&hits);
            come_back(&candidates);
            come_back(&articles);
            come_back(&increments);
        }

        #[test]
        fn bytes_that_are_cut_longer_or_changed_are_refused_or_other_records_and_nothing_else(
            hits in prop::collection::vec(hit(), 1..5),
            candidates in prop::collection::vec(candidates(), 1..5),
            articles in prop::collection::vec(new_article(), 1..5),
            increments in prop::collection::vec(increment(), 1..5),
            at in any::<prop::sample::Index>(),
            flipped in 1_u8..,
        ) {
            hold(&hits, at, flipped);
            hold(&candidates, at, flipped);
            hold(&articles, at, flipped);
            hold(&increments, at, flipped);
        }
    }

    /// A message of these numbers.
    fn message(numbers: &[u64]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_ne_bytes()).collect()
    }

    #[test]
    fn parts_that_no_record_has_are_refused() {
        let hit = |action| Records::<Hit, Plain>::read(&message(&[1, 0, 7, 8, 9, 0, action]));
        assert_eq!([0, 1, 2, 3].map(|action| hit(action).is_some()), [true, true, true, false]);
        let article = |has| Records::<NewArticle, Plain>::read(&message(&[1, 0, 7, 8, 9, 0, has]));
        assert_eq!([0, 1, 2].map(|has| article(has).is_some()), [true, true, false]);
        let increment =
            |channel| Records::<HotIncrement, Plain>::read(&message(&[1, 0, channel, 8, 9]));
        let [most, more] = [u32::MAX.into(), u64::from(u32::MAX) + 1];
        assert_eq!([most, more].map(|channel| increment(channel).is_some()), [true, false]);
    }

    #[test]
    fn more_than_there_is_is_refused() {
        let candidates = |count, tails, user, neighbours| {
            let numbers = [count, tails, user, 9, 0, neighbours, 77];
            Records::<Candidates, Plain>::read(&message(&numbers)).is_some()
        };
        assert!(candidates(1, 8, 5, 1));
        for (count, tails, user, neighbours) in [
            (2, 8, 5, 1),
            (u64::MAX, 8, 5, 1),
            (1, u64::MAX, 5, 1),
            (1, 8, 5, 2),
            (1, 8, 5, u64::MAX),
            (1, 8, 5, 0),
            (1, 8, u64::MAX, 0),
        ] {
            assert!(
                !candidates(count, tails, user, neighbours),
                "{count} {tails} {user} {neighbours}"
            );
        }
    }
}
