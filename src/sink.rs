//! What makes an epoch's effects durable outside.

use dataflows::{Channel, Epoch, HotIncrement, NewArticle, Recall};
use serde::{Deserialize, Serialize};

use crate::decode::Reason;

/// A record that is no event: kept, counted, with its bytes, place and reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its place, as people read it: `topic/partition/offset` or `file:line`.
    pub place: Vec<u8>,
    /// Why it is no event.
    pub reason: Reason,
    /// Its bytes; of one that is too long, the first.
    pub bytes: Vec<u8>,
}
