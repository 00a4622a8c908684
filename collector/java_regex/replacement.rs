//! What takes the place of a match: text, and groups as `$1` or `${name}`; a backslash takes the meaning of
//! what follows.

use super::{Captures, Error, JavaRegex};

/// A replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Group(usize),
}

impl Replacement {
    /// Understands a replacement for the matches of a pattern.
    ///
    /// # Errors
    ///
    /// If it is none in Java, or names a group that the pattern has not.
    pub fn parse(text: &str, of: &JavaRegex) -> Result<Replacement, Error> {
        let wrong = |what: String| Err(Error::Replacement(what));
        let (mut pieces, mut plain) = (Vec::new(), String::new());
        let mut rest = text.chars().peekable();
        while let Some(next) = rest.next() {
            let group = match next {
                '\\' => match rest.next() {
                    Some(escaped) => {
                        plain.push(escaped);
                        continue;
                    }
                    None => return wrong("nothing stands behind the last backslash".to_owned()),
                },
                '$' => match rest.peek().copied() {
                    Some('{') => {
                        rest.next();
                        let name: String =
                            std::iter::from_fn(|| rest.next_if(char::is_ascii_alphanumeric))
                                .collect();
                        if rest.next() != Some('}') {
                            return wrong(format!("${{{name} does not end with }}"));
                        }
                        match of.group(&name) {
                            Some(group) => group,
                            None => return wrong(format!("the pattern has no group {name:?}")),
                        }
                    }
                    Some(digit @ '0'..='9') => {
                        rest.next();
                        let mut group = digit as usize - '0' as usize;
                        if group > of.groups() {
                            return wrong(format!("the pattern has no group {group}"));
                        }
                        // As many digits as name a group that there is.
                        while let Some(digit) = rest.peek().and_then(|next| next.to_digit(10)) {
                            let longer = group * 10 + digit as usize;
                            if longer > of.groups() {
                                break;
                            }
                            group = longer;
                            rest.next();
                        }
                        group
                    }
                    _ => {
                        return wrong(
                            "no group stands behind a $ (\\$ is the character)".to_owned(),
                        );
                    }
                },
                other => {
                    plain.push(other);
                    continue;
                }
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Group(group));
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Replacement(pieces))
    }

    /// Appends what takes the place of a match; of a group that is not there, nothing.
    pub(super) fn write(&self, found: &Captures<'_>, to: &mut String) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => *to += text,
                Piece::Group(group) => *to += found.get(*group).unwrap_or_default(),
            }
        }
    }
}
