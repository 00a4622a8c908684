//! The side of a connection that answers.

use bytes::Bytes;

use super::call::Call;
use super::datum::{Datum, Malformed};
use super::frame::Held;
use super::handshake::{Known, Match, Request};

/// What is known of one connection.
#[derive(Debug)]
pub struct Session<'a> {
    known: &'a Known,
    has_met: bool,
}

impl<'a> Session<'a> {
    /// One that has just been opened.
    pub fn new(known: &'a Known) -> Session<'a> {
        Session { known, has_met: false }
    }

    /// Whether the peer has shown to be one.
    pub fn has_met(&self) -> bool {
        self.has_met
    }

    /// Reads what a frame asks for, and begins the answer: with a handshake, where the frame has one. None
    /// where that is all of the answer.
    ///
    /// # Errors
    ///
    /// If it asks for nothing that there is: the connection cannot be used any more.
    pub fn asked(
        &mut self,
        payload: Bytes,
        held: &mut Held,
        answer: &mut Vec<u8>,
    ) -> Result<Option<Call>, Malformed> {
        let mut datum = Datum::new(payload);
        if !self.has_met {
            let response = self.known.answer(&Request::read(&mut datum)?)?;
            response.put(answer);
            if response.matched == Match::None {
                return Ok(None);
            }
            self.has_met = true;
        }
        Ok(match Call::read(&mut datum, held)? {
            Call::Ping => None,
            call => Some(call),
        })
    }
}
