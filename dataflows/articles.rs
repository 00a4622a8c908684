//! The articles of a history: those of one row of the similar articles as long as they are just these.
//!
//! Most users are met once or seldom, so most histories are one row. Shared with the table, it is neither
//! copied nor touched, and most of what makes a history large is not there.

use std::ops::Deref;

use crate::{Article, Neighbours};

/// A growing list of articles.
#[derive(Clone, Debug)]
pub(crate) enum Articles {
    /// All of a row.
    Row(Neighbours),
    /// A list of its own.
    Own(Vec<Article>),
}

impl Articles {
    /// Makes a list of none.
    pub(crate) fn none() -> Articles {
        Articles::Own(Vec::new())
    }

    /// Adds an article; where there is no room for it, makes room for `more`, or for an eighth of what
    /// there is.
    pub(crate) fn push(&mut self, article: Article, more: usize) {
        let own = self.own(more);
        if own.len() == own.capacity() {
            own.reserve_exact(more.max(own.len() / 8));
        }
        own.push(article);
    }

    /// Adds some articles, but for those that are there; then the order is lost.
    pub(crate) fn unite(&mut self, articles: Vec<Article>) {
        if self.is_empty() {
            *self = Articles::Own(articles);
            return;
        }
        let own = self.own(articles.len());
        own.extend(articles);
        own.sort_unstable();
        own.dedup();
        own.shrink_to_fit();
    }

    /// Sorts them if they are more than so many, each once.
    pub(crate) fn sort_if_longer(&mut self, length: usize) {
        if self.len() > length {
            let own = self.own(0);
            // What was sorted before is taken as it is.
            own.sort();
            own.dedup();
        }
    }

    /// The articles as a list of their own; one that is made now has room for `more`.
    fn own(&mut self, more: usize) -> &mut Vec<Article> {
        if let Articles::Row(row) = self {
            let mut own = Vec::with_capacity(row.len() + more);
            own.extend_from_slice(row);
            *self = Articles::Own(own);
        }
        match self {
            Articles::Own(own) => own,
            Articles::Row(_) => unreachable!("a row was just copied"),
        }
    }

    /// How many bytes it takes at most beside itself: a row may have left the table, and be only here.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Articles::Row(row) => size_of_val(&row[..]),
            Articles::Own(own) => own.capacity() * size_of::<Article>(),
        }
    }
}

impl Deref for Articles {
    type Target = [Article];

    fn deref(&self) -> &[Article] {
        match self {
            Articles::Row(row) => row,
            Articles::Own(own) => own,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_shared_until_something_is_added() {
        let row: Neighbours = [1, 2].map(Article).into();
        let mut articles = Articles::Row(Neighbours::clone(&row));
        assert_eq!(Neighbours::strong_count(&row), 2);
        articles.push(Article(3), 2);
        assert_eq!(
            (&articles[..], Neighbours::strong_count(&row)),
            (&[1, 2, 3].map(Article)[..], 1)
        );
    }

    #[test]
    fn a_list_takes_no_more_room_than_a_vector() {
        assert_eq!(size_of::<Articles>(), size_of::<Vec<Article>>());
    }
}
