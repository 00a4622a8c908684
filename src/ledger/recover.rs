//! What is observed of a ledger and of key marks, and what to do about it: decided purely.
//!
//! Redis may have gone back to an earlier time (a restart from an older file, a failover to a replica
//! that lagged): one server as a whole, a Cluster node by node. What follows is a table; its tests are
//! the table.

use dataflows::Epoch;

use super::kept::Kept;
use crate::redis::{At, KeyMark, Stands, Token};

/// What a committer knows of its ledger.
pub(super) struct Known<'a> {
    /// Its own token.
    pub token: Token,
    /// How it left the ledger.
    pub at: At,
    /// The bindings that it holds.
    pub kept: &'a Kept,
}

/// What follows from how a ledger was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It stands as it was left.
    GoOn,
    /// A newer incarnation writes it.
    Fenced(Token),
    /// It is gone: Redis has lost everything.
    Lost,
    /// It went back, and what it lost is held: it is written back.
    WriteBack(Token, At),
    /// It went back farther than bindings are held.
    Gap(At),
    /// It is one that this incarnation never wrote.
    Otherwise(At),
}

/// Says what to do about a ledger that was found so.
pub(super) fn ledger(known: &Known<'_>, found: Option<Stands>) -> Step {
    let Some(Stands { token, at }) = found else { return Step::Lost };
    let newer = token.number > known.token.number;
    let twin = token.number == known.token.number && token.bits != known.token.bits;
    if newer || twin {
        return Step::Fenced(token);
    }
    let Some(at) = at else { return Step::Lost };
    if token == known.token && at == known.at {
        return Step::GoOn;
    }
    // It is this incarnation's ledger at an earlier time, or an earlier incarnation's.
    if at.bound > known.at.bound || at.mark > known.at.mark || at.bound < at.mark {
        return Step::Otherwise(at);
    }
    match known.kept.binds(at.bound) {
        Some(false) => Step::Otherwise(at),
        Some(true) if known.kept.packed(at.bound).is_some() => Step::WriteBack(token, at),
        Some(true) | None => Step::Gap(at),
    }
}

/// What follows from how a key mark was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyStep {
    /// It stands at the ledger's time.
    Stands,
    /// It went back, and the epochs after this one are run again for it.
    Again(Epoch),
    /// It went back farther than bindings are kept.
    TooOld,
    /// It stands where the ledger has never been.
    Beyond,
}

/// Says what to do about a key mark: `known` is the last epoch that is known to have been applied to
/// the key, `found` what stands there. `at` and `kept` are the ledger's.
pub(super) fn key(known: Option<KeyMark>, found: Option<KeyMark>, at: At, kept: &Kept) -> KeyStep {
    if known == found {
        return KeyStep::Stands;
    }
    let Some(found) = found else {
        let last = known.map_or(Epoch(0), |known| known.last.epoch);
        return behind(Epoch(0), last, kept);
    };
    if found.last.epoch > at.bound.epoch || kept.binds(found.last) == Some(false) {
        return KeyStep::Beyond;
    }
    let in_parts = found.through.is_some();
    match known.map(|known| known.last) {
        Some(last) if found.last.epoch < last.epoch || (found.last == last && in_parts) => {
            // An epoch before the kept ones may be of any time.
            if kept.binds(found.last).is_none() {
                return KeyStep::TooOld;
            }
            let whole =
                if in_parts { found.last.epoch.0.saturating_sub(1) } else { found.last.epoch.0 };
            behind(Epoch(whole), last.epoch, kept)
        }
        // What is bound and not marked may have been applied.
        _ if found.last.epoch > at.mark.epoch && kept.binds(found.last) == Some(true) => {
            KeyStep::Stands
        }
        _ => KeyStep::Beyond,
    }
}

fn behind(after: Epoch, last: Epoch, kept: &Kept) -> KeyStep {
    if kept.covers(after, last) { KeyStep::Again(after) } else { KeyStep::TooOld }
}

#[cfg(test)]
mod tests {
    use dataflows::Article;

    use super::*;
    use crate::redis::Dated;

    fn e(epoch: u64) -> Dated {
        Dated { epoch: Epoch(epoch), time: 1000 + epoch }
    }

    /// The same epoch, bound at another time.
    fn other(epoch: u64) -> Dated {
        Dated { time: 5, ..e(epoch) }
    }

    fn kept(first: u64, last: u64) -> Kept {
        let mut kept = Kept::after(Some(e(first - 1)));
        (first..=last).for_each(|epoch| kept.push(e(epoch), Box::new([7])));
        kept
    }

    fn token(number: u64, bits: u128) -> Token {
        Token { number, bits }
    }

    fn at(bound: Dated, mark: Dated) -> Option<At> {
        Some(At { bound, mark })
    }

    #[test]
    fn what_follows_from_how_a_ledger_is_found() {
        let kept = kept(60, 85);
        let ours = token(3, 33);
        let known = Known { token: ours, at: At { bound: e(85), mark: e(80) }, kept: &kept };
        let back = |found, at: Option<At>| Step::WriteBack(found, at.unwrap());
        let gap = |at: Option<At>| Step::Gap(at.unwrap());
        let otherwise = |at: Option<At>| Step::Otherwise(at.unwrap());
        let older = token(2, 22);
        let (now, then) = (at(e(85), e(80)), at(e(70), e(66)));
        for (what, found, step) in [
            ("as it was left", Some((ours, now)), Step::GoOn),
            ("nothing", None, Step::Lost),
            ("a newer one", Some((token(4, 1), now)), Step::Fenced(token(4, 1))),
            ("a newer one that was reset", Some((token(4, 1), None)), Step::Fenced(token(4, 1))),
            ("ours with other bits", Some((token(3, 1), now)), Step::Fenced(token(3, 1))),
            ("before the first write", Some((ours, None)), Step::Lost),
            ("an older one before its first write", Some((older, None)), Step::Lost),
            ("an older mark", Some((ours, at(e(85), e(79)))), back(ours, at(e(85), e(79)))),
            ("an older binding", Some((ours, at(e(84), e(80)))), back(ours, at(e(84), e(80)))),
            ("long ago", Some((ours, then)), back(ours, then)),
            ("an older token, where we began", Some((older, now)), back(older, now)),
            ("an older token, before that", Some((older, then)), back(older, then)),
            ("just before the kept", Some((ours, at(e(59), e(59)))), back(ours, at(e(59), e(59)))),
            ("before that", Some((ours, at(e(58), e(58)))), gap(at(e(58), e(58)))),
            (
                "bound otherwise",
                Some((older, at(other(70), e(66)))),
                otherwise(at(other(70), e(66))),
            ),
            ("bound more", Some((older, at(e(86), e(80)))), otherwise(at(e(86), e(80)))),
            ("marked more", Some((ours, at(e(85), e(81)))), otherwise(at(e(85), e(81)))),
        ] {
            let found = found.map(|(token, at)| Stands { token, at });
            assert_eq!(ledger(&known, found), step, "{what}");
        }
    }

    #[test]
    fn what_follows_from_how_a_key_mark_is_found() {
        let kept = kept(60, 85);
        let ledger = At { bound: e(85), mark: e(80) };
        let whole = |dated| Some(KeyMark::whole(dated));
        let part = |dated| Some(KeyMark { last: dated, through: Some(Article(7)) });
        use KeyStep::{Again, Beyond, Stands, TooOld};
        for (what, known, found, step) in [
            ("never touched", None, None, Stands),
            ("as known", whole(e(70)), whole(e(70)), Stands),
            ("as known, long ago", whole(e(9)), whole(e(9)), Stands),
            ("bound and not marked", whole(e(70)), whole(e(83)), Stands),
            ("the same, in parts", whole(e(70)), part(e(83)), Stands),
            ("the same, the first time", None, whole(e(81)), Stands),
            ("below", whole(e(79)), whole(e(70)), Again(Epoch(70))),
            ("below, in parts", whole(e(79)), part(e(70)), Again(Epoch(69))),
            ("in parts", whole(e(79)), part(e(79)), Again(Epoch(78))),
            ("just before the kept", whole(e(79)), whole(e(59)), Again(Epoch(59))),
            ("before that", whole(e(79)), whole(e(58)), TooOld),
            ("gone", whole(e(79)), None, TooOld),
            ("below, bound otherwise", whole(e(79)), whole(other(70)), Beyond),
            ("above the last binding", whole(e(79)), whole(e(86)), Beyond),
            ("above the mark, bound otherwise", whole(e(79)), whole(other(83)), Beyond),
            ("above what is known, below the mark", whole(e(70)), whole(e(79)), Beyond),
            ("unknown, below the mark", None, whole(e(79)), Beyond),
        ] {
            assert_eq!(key(known, found, ledger, &kept), step, "{what}");
        }
        let from_the_first = self::kept(1, 85);
        let gone = key(whole(e(79)), None, ledger, &from_the_first);
        assert_eq!(gone, Again(Epoch(0)), "a key that is gone, and every binding kept");
    }
}
