//! The names of our keys.
//!
//! ```text
//!  online-recall:{JOB}:ledger …      the ledger and signs of life, in the slot of JOB
//!  online-recall:JOB:{ch:18:hot}     the key mark of ch:18:hot, in the slot of ch:18:hot
//!  ch:18:hot, ch:18:new              scores, by the configuration's templates
//! ```
//!
//! A job's name has neither colon nor brace, and a score key no brace: no two names can meet.

use dataflows::Channel;

use crate::ledger::Names;

const PREFIX: &str = "online-recall:";

/// The keys of a job that are not score keys' marks.
#[derive(Clone, Debug)]
pub(super) struct JobKeys {
    /// A hash: all of the ledger. One key is read, written and moved as a whole.
    pub ledger: String,
    /// The time up to which all is visible, in milliseconds since 1970.
    pub freshness: String,
    /// Stands while the job runs, and some seconds longer.
    pub running: String,
}

impl JobKeys {
    pub(super) fn of(job: &str) -> JobKeys {
        let key = |what| format!("{PREFIX}{{{job}}}:{what}");
        JobKeys { ledger: key("ledger"), freshness: key("freshness"), running: key("running") }
    }
}

/// A list of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoreKey {
    /// Of hot articles.
    Hot(Channel),
    /// Of new ones.
    New(Channel),
}

/// The name of a score key.
pub fn score_key(names: &Names, key: ScoreKey) -> String {
    let (template, Channel(channel)) = match key {
        ScoreKey::Hot(channel) => (&names.hot, channel),
        ScoreKey::New(channel) => (&names.new, channel),
    };
    template.replacen("{channel}", &channel.to_string(), 1)
}

/// The channel of a score key; none where it is no list of these names.
pub fn channel_of(names: &Names, score_key: &str) -> Option<Channel> {
    [&names.hot, &names.new].into_iter().find_map(|template| {
        let (before, behind) = template.split_once("{channel}")?;
        let channel = score_key.strip_prefix(before)?.strip_suffix(behind)?;
        channel.parse().ok().map(Channel)
    })
}

/// The name of the key mark of a score key.
pub(super) fn key_mark(job: &str, score_key: &str) -> String {
    format!("{PREFIX}{job}:{{{score_key}}}")
}

/// What the names of all key marks of a job match, as SCAN has it.
pub(super) fn all_key_marks(job: &str) -> String {
    // None of the letters of a job's name means anything there.
    format!("{PREFIX}{job}:{{*}}")
}

/// The score key that a key mark belongs to.
pub(super) fn of_key_mark<'a>(job: &str, key_mark: &'a str) -> Option<&'a str> {
    key_mark.strip_prefix(PREFIX)?.strip_prefix(job)?.strip_prefix(":{")?.strip_suffix('}')
}

#[cfg(test)]
mod tests {
    use ::redis::cluster_routing::Slot;

    use super::*;

    #[test]
    fn a_key_mark_stands_in_the_slot_of_its_score_key_and_the_ledger_in_one() {
        let names = Names { hot: "ch:{channel}:hot".to_owned(), ..Names::default() };
        let key = score_key(&names, ScoreKey::Hot(Channel(18)));
        assert_eq!(key, "ch:18:hot");
        assert_eq!(channel_of(&names, &key), Some(Channel(18)));
        assert_eq!(channel_of(&names, "ch:x:hot"), None);
        assert_eq!(channel_of(&names, "ch:18:new"), None);
        let mark = key_mark("recall", &key);
        assert_eq!(mark, "online-recall:recall:{ch:18:hot}");
        assert_eq!(Slot::for_key(&mark), Slot::for_key(&key));
        assert_eq!(of_key_mark("recall", &mark), Some("ch:18:hot"));
        assert_eq!(of_key_mark("rec", &mark), None);
        let keys = JobKeys::of("recall");
        assert_eq!(keys.ledger, "online-recall:{recall}:ledger");
        assert_eq!(Slot::for_key(&keys.freshness), Slot::for_key(&keys.ledger));
        assert_eq!(of_key_mark("recall", &keys.ledger), None);
    }
}
