//! What was asked on a connection, and what a peer has answered: the asking side, but for its socket.

use std::collections::BTreeMap;

use super::call::{Answer, Status};
use super::datum::{Datum, Malformed};
use super::frame::Frame;
use super::handshake::{Match, Response};

/// Why an answer is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The peer speaks something else.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The peer does not know Flume's protocol.
    #[error("it does not know Flume's protocol")]
    Stranger,
    /// The peer answers what it was not asked.
    #[error("it answers the call {0}, which was not made")]
    Serial(i32),
}

/// The calls by which a batch was sent: more than one where it is too large for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    first: i32,
    many: i32,
}

impl Calls {
    fn serials(self) -> impl Iterator<Item = i32> {
        (0..self.many).map(move |nth| self.first.wrapping_add(nth))
    }

    /// One more, the next.
    pub fn grow(&mut self) {
        self.many += 1;
    }
}

/// The calls of a connection.
#[derive(Debug, Default)]
pub struct Asked {
    /// The number of the next one.
    next: i32,
    /// Those that were made, with the answers that nobody has asked for yet.
    calls: BTreeMap<i32, Option<Answer>>,
}

/// What the answer to a handshake says: whether calls are worked on, and answered, in their order.
///
/// # Errors
///
/// If the peer is none of Flume's.
pub fn met(frame: Frame) -> Result<bool, Unfit> {
    let response = Response::read(&mut Datum::new(frame.payload))?;
    match response.matched {
        Match::None => Err(Unfit::Stranger),
        Match::Both | Match::Client => Ok(response.in_order),
    }
}

impl Asked {
    /// The number of the next frame.
    pub fn next(&self) -> i32 {
        self.next
    }

    /// Notes that the next frame was sent, which is the handshake.
    pub fn greeted(&mut self) {
        self.next = self.next.wrapping_add(1);
    }

    /// Notes that the next frame was sent, which is a call.
    pub fn called(&mut self) {
        self.calls.insert(self.next, None);
        self.next = self.next.wrapping_add(1);
    }

    /// A batch that begins with the next call.
    pub fn batch(&self) -> Calls {
        Calls { first: self.next, many: 0 }
    }

    /// Takes an answer.
    ///
    /// # Errors
    ///
    /// If it is none, or to nothing that was asked.
    pub fn answered(&mut self, frame: Frame) -> Result<(), Unfit> {
        let answer = Answer::read(&mut Datum::new(frame.payload))?;
        match self.calls.get_mut(&frame.serial) {
            Some(none @ None) => *none = Some(answer),
            _ => return Err(Unfit::Serial(frame.serial)),
        }
        Ok(())
    }

    /// The answer to a batch, if it is there already: that its calls were all made, or what has become of one
    /// that was not.
    pub fn received(&mut self, calls: Calls) -> Option<Answer> {
        let is_there = |serial: i32| matches!(self.calls.get(&serial), Some(Some(_)));
        if !calls.serials().all(is_there) {
            return None;
        }
        let mut all = Answer::Status(Status::Ok);
        for answer in calls.serials().filter_map(|serial| self.calls.remove(&serial)?) {
            if all == Answer::Status(Status::Ok) {
                all = answer;
            }
        }
        Some(all)
    }
}
