//! A pattern of Java's, written as one of our engines'. What is not known is refused, never passed on.

use super::Error;
use super::class::{self, TERMINATORS};
use super::reader::Reader;

/// What a text must be for the fast form of a pattern to be right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// It does not end with a line terminator: `$` is its end.
    no_last_terminator: bool,
    /// It is ASCII: `\b` is.
    ascii: bool,
}

impl Needs {
    /// Whether every text will do.
    pub fn is_nothing(self) -> bool {
        self == Needs::default()
    }

    /// Whether a text is so.
    pub fn are_met_by(self, text: &str) -> bool {
        const TERMINATORS: [char; 5] = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
        !(self.no_last_terminator && text.ends_with(TERMINATORS))
            && (!self.ascii || text.is_ascii())
    }
}

/// A pattern, translated.
#[derive(Debug)]
pub(super) struct Translated {
    /// For an engine of linear time, and texts that meet the needs; none where it is not regular.
    pub fast: Option<String>,
    /// For an engine that tries, and all texts.
    pub exact: String,
    pub needs: Needs,
    /// How many groups there are.
    pub groups: usize,
    /// Those with a name.
    pub names: Vec<(String, usize)>,
}

/// What counts in a place of a pattern.
#[derive(Clone, Copy, Default)]
struct Flags {
    ignores_case: bool,
    unix_lines: bool,
    multiline: bool,
    dot_all: bool,
}

/// What a piece of a pattern is.
#[derive(Clone, Copy, Default)]
struct Piece {
    /// Whether it may match nothing.
    may_be_empty: bool,
    /// Whether a group that is kept is in it.
    captures: bool,
    /// Whether it stands in brackets.
    grouped: bool,
    /// Whether `\R` is in it.
    breaks: bool,
}

/// Writes a pattern in both forms.
struct Writer<'p> {
    reader: Reader<'p>,
    fast: String,
    exact: String,
    is_regular: bool,
    needs: Needs,
    groups: usize,
    /// Those that are closed: only they may be referred to.
    closed: Vec<usize>,
    names: Vec<(String, usize)>,
    depth: usize,
}

/// How deep groups may stand in each other.
const DEEPEST: usize = 100;

/// Translates a pattern.
pub(super) fn translate(pattern: &str) -> Result<Translated, Error> {
    let characters: Vec<char> = pattern.chars().collect();
    let mut writer = Writer {
        reader: Reader::new(&characters),
        fast: String::new(),
        exact: String::new(),
        is_regular: true,
        needs: Needs::default(),
        groups: 0,
        closed: Vec::new(),
        names: Vec::new(),
        depth: 0,
    };
    writer.alternatives(Flags::default())?;
    if writer.reader.peek().is_some() {
        return Err(writer.reader.syntax("a ) closes nothing"));
    }
    let Writer { fast, exact, is_regular, needs, groups, names, .. } = writer;
    Ok(Translated { fast: is_regular.then_some(fast), exact, needs, groups, names })
}

impl Writer<'_> {
    /// The same in both forms.
    fn both(&mut self, text: &str) {
        self.fast += text;
        self.exact += text;
    }

    /// Something that only trying finds.
    fn irregular(&mut self, text: &str) {
        self.is_regular = false;
        self.exact += text;
    }

    /// Reads to the end, or to the bracket that closes; flags that are set on the way hold to there.
    fn alternatives(&mut self, mut flags: Flags) -> Result<Piece, Error> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.reader.unsupported("a group within so many", self.reader.at()));
        }
        let mut all = Piece::default();
        let mut branch = Piece { may_be_empty: true, ..Piece::default() };
        while let Some(next) = self.reader.peek() {
            match next {
                ')' => break,
                '|' => {
                    self.reader.next();
                    self.both("|");
                    all.may_be_empty |= branch.may_be_empty;
                    branch = Piece { may_be_empty: true, ..Piece::default() };
                }
                _ => {
                    if let Some(piece) = self.item(&mut flags)? {
                        branch.may_be_empty &= piece.may_be_empty;
                        all.captures |= piece.captures;
                        all.breaks |= piece.breaks;
                    }
                }
            }
        }
        all.may_be_empty |= branch.may_be_empty;
        self.depth -= 1;
        Ok(all)
    }

    /// Reads an item with how often it stands there; none where it was flags alone.
    fn item(&mut self, flags: &mut Flags) -> Result<Option<Piece>, Error> {
        let (fast, exact) = (self.fast.len(), self.exact.len());
        let at = self.reader.at();
        let next = self.reader.next().expect("the caller has looked");
        let one = Piece::default();
        let nothing = Piece { may_be_empty: true, ..Piece::default() };
        let piece = match next {
            '(' => match self.group(flags)? {
                Some(piece) => piece,
                None => return Ok(None),
            },
            '[' => {
                let class = class::read(&mut self.reader, flags.ignores_case)?;
                self.both(&class);
                one
            }
            '.' => {
                match (flags.dot_all, flags.unix_lines) {
                    (true, _) => self.both("(?s:.)"),
                    (false, true) => self.both(r"[^\n]"),
                    (false, false) => self.both(&format!("[^{TERMINATORS}]")),
                }
                one
            }
            '^' if flags.multiline => {
                self.irregular(if flags.unix_lines {
                    r"(?:(?!\z)(?:\A|(?<=\n)))"
                } else {
                    r"(?:(?!\z)(?:\A|(?<=[\n\x{85}\x{2028}\x{2029}])|(?<=\r)(?!\n)))"
                });
                nothing
            }
            '^' => {
                self.both(r"\A");
                nothing
            }
            '$' => {
                self.end(*flags, flags.multiline);
                nothing
            }
            '*' | '+' | '?' => {
                return Err(Error::Syntax { what: "a quantifier stands behind nothing", at });
            }
            '{' => {
                return Err(Error::Syntax {
                    what: "a { stands behind nothing that is repeated",
                    at,
                });
            }
            '\\' => match self.reader.next() {
                None => return Err(self.reader.syntax("nothing stands behind the last backslash")),
                Some('Q') => {
                    let quoted = self.reader.quoted();
                    let Some((last, before)) = quoted.split_last() else { return Ok(None) };
                    for &quoted in before {
                        self.character(quoted, *flags);
                    }
                    // What follows repeats the last alone.
                    let (fast, exact) = (self.fast.len(), self.exact.len());
                    self.character(*last, *flags);
                    self.repeated((fast, exact), one)?;
                    return Ok(Some(one));
                }
                Some(letter) => self.escaped(letter, *flags, at)?,
            },
            other => {
                self.character(other, *flags);
                one
            }
        };
        self.repeated((fast, exact), piece).map(Some)
    }

    fn character(&mut self, character: char, flags: Flags) {
        let mut text = String::new();
        class::character(character, flags.ignores_case, &mut text);
        self.both(&text);
    }

    /// `$` and `\Z`.
    fn end(&mut self, flags: Flags, multiline: bool) {
        match (multiline, flags.unix_lines) {
            (true, true) => self.irregular(r"(?=\n|\z)"),
            (true, false) => {
                self.irregular(r"(?:(?=[\r\x{85}\x{2028}\x{2029}]|\z)|(?<!\r)(?=\n))");
            }
            (false, unix_lines) => {
                self.needs.no_last_terminator = true;
                self.fast += r"\z";
                self.exact += if unix_lines {
                    r"(?=\n?\z)"
                } else {
                    r"(?:(?=(?:\r\n|[\r\x{85}\x{2028}\x{2029}])?\z)|(?<!\r)(?=\n\z))"
                };
            }
        }
    }

    /// An escape outside of a class, behind its first letter.
    fn escaped(&mut self, letter: char, flags: Flags, at: usize) -> Result<Piece, Error> {
        let nothing = Piece { may_be_empty: true, ..Piece::default() };
        if let Some(set) = class::set(&mut self.reader, letter, flags.ignores_case, at)? {
            self.both(&set);
            return Ok(Piece::default());
        }
        match letter {
            'b' | 'B' => {
                if self.reader.peek() == Some('{') {
                    return Err(self.reader.unsupported(r"\b{g}", at));
                }
                self.needs.ascii = true;
                const WORD: &str = r"[_\p{L}\p{Nd}\p{Mn}]";
                if letter == 'b' {
                    self.fast += r"(?-u:\b)";
                    self.exact += &format!("(?:(?<={WORD})(?!{WORD})|(?<!{WORD})(?={WORD}))");
                } else {
                    self.fast += r"\B";
                    self.exact += &format!("(?:(?<={WORD})(?={WORD})|(?<!{WORD})(?!{WORD}))");
                }
                Ok(nothing)
            }
            'A' => {
                self.both(r"\A");
                Ok(nothing)
            }
            'z' => {
                self.both(r"\z");
                Ok(nothing)
            }
            'Z' => {
                self.end(flags, false);
                Ok(nothing)
            }
            'R' => {
                const BREAK: &str = r"\r\n|[\n\x0B\x0C\r\x{85}\x{2028}\x{2029}]";
                // One that is repeated does not give back half of a pair.
                if matches!(self.reader.peek(), Some('*' | '+' | '?' | '{')) {
                    self.irregular(&format!("(?>{BREAK})"));
                    return Ok(Piece::default());
                }
                self.both(&format!("(?:{BREAK})"));
                Ok(Piece { breaks: true, ..Piece::default() })
            }
            'k' => {
                let name = self.name('<', at)?;
                match self.names.iter().find(|(known, _)| *known == name) {
                    Some(&(_, group)) => self.refer(group, flags, at),
                    None => Err(self.reader.syntax("a reference is to a group that is not there")),
                }
            }
            '1'..='9' => {
                let mut group = letter as usize - '0' as usize;
                // As many digits as name a group that there is.
                while let Some(digit) = self.reader.peek().and_then(|next| next.to_digit(10)) {
                    let longer = group * 10 + digit as usize;
                    if longer > self.groups {
                        break;
                    }
                    group = longer;
                    self.reader.next();
                }
                self.refer(group, flags, at)
            }
            letter => {
                let character = self.reader.escape(letter, at)?;
                self.character(character, flags);
                Ok(Piece::default())
            }
        }
    }

    /// A reference to what a group has matched.
    fn refer(&mut self, group: usize, flags: Flags, at: usize) -> Result<Piece, Error> {
        if flags.ignores_case {
            return Err(self.reader.unsupported("a back reference with (?i)", at));
        }
        if !self.closed.contains(&group) {
            let what = "a reference to a group that is not there, or not closed";
            return Err(self.reader.unsupported(what, at));
        }
        self.irregular(&format!(r"(?:\{group})"));
        Ok(Piece { may_be_empty: true, ..Piece::default() })
    }

    /// Reads a group behind its opening bracket; none where it sets flags for what follows.
    fn group(&mut self, flags: &mut Flags) -> Result<Option<Piece>, Error> {
        let at = self.reader.at();
        if !self.reader.takes('?') {
            return self.kept(None, *flags).map(Some);
        }
        const AROUND: [(&str, &str); 5] =
            [("<=", "(?<="), ("<!", "(?<!"), ("=", "(?="), ("!", "(?!"), (">", "(?>")];
        for (sign, open) in AROUND {
            if self.reader.takes_all(sign) {
                self.irregular(open);
                let piece = self.alternatives(*flags)?;
                if piece.captures {
                    // What it has where the rest then fails is Java's own.
                    let what = format!("a group that is kept within (?{sign}");
                    return Err(self.reader.unsupported(&what, at));
                }
                self.close(")")?;
                let may_be_empty = sign != ">" || piece.may_be_empty;
                return Ok(Some(Piece { may_be_empty, grouped: true, ..piece }));
            }
        }
        if self.reader.peek() == Some('<') {
            let name = self.name('<', at)?;
            if self.names.iter().any(|(known, _)| *known == name) {
                return Err(Error::Syntax { what: "two groups have one name", at });
            }
            return self.kept(Some(name), *flags).map(Some);
        }
        let mut inner = *flags;
        let mut on = true;
        loop {
            let at = self.reader.at();
            match self.reader.next() {
                Some('-') if on => on = false,
                Some('i') => inner.ignores_case = on,
                Some('d') => inner.unix_lines = on,
                Some('m') => inner.multiline = on,
                Some('s') => inner.dot_all = on,
                Some(')') => {
                    *flags = inner;
                    return Ok(None);
                }
                Some(':') => {
                    self.both("(?:");
                    let piece = self.alternatives(inner)?;
                    self.close(")")?;
                    return Ok(Some(Piece { grouped: true, ..piece }));
                }
                Some(flag @ ('x' | 'u' | 'U')) => {
                    return Err(self.reader.unsupported(&format!("(?{flag})"), at));
                }
                _ => return Err(Error::Syntax { what: "(? begins nothing that is known", at }),
            }
        }
    }

    /// A group that is kept, behind its opening.
    fn kept(&mut self, name: Option<String>, flags: Flags) -> Result<Piece, Error> {
        self.groups += 1;
        let group = self.groups;
        if let Some(name) = name {
            self.names.push((name, group));
        }
        self.both("(");
        let piece = self.alternatives(flags)?;
        self.close(")")?;
        self.closed.push(group);
        Ok(Piece { captures: true, grouped: true, ..piece })
    }

    fn close(&mut self, with: &str) -> Result<(), Error> {
        if !self.reader.takes(')') {
            return Err(self.reader.syntax("a group is not closed"));
        }
        self.both(with);
        Ok(())
    }

    /// A name between angle brackets.
    fn name(&mut self, open: char, at: usize) -> Result<String, Error> {
        let mut name = String::new();
        if self.reader.takes(open) {
            while let Some(next) = self.reader.next() {
                match next {
                    '>' if !name.is_empty() => return Ok(name),
                    next if next.is_ascii_alphabetic()
                        || (!name.is_empty() && next.is_ascii_digit()) =>
                    {
                        name.push(next);
                    }
                    _ => break,
                }
            }
        }
        Err(Error::Syntax { what: "a group's name is none", at })
    }

    /// Reads how often what was written from there on stands there.
    fn repeated(&mut self, from: (usize, usize), piece: Piece) -> Result<Piece, Error> {
        let at = self.reader.at();
        let (sign, least, most) = match self.reader.peek() {
            Some(sign @ ('*' | '+' | '?')) => {
                self.reader.next();
                let least = u32::from(sign == '+');
                (sign.to_string(), least, (sign == '?').then_some(1))
            }
            Some('{') => {
                self.reader.next();
                let (least, most) = self.counts(at)?;
                let sign = match most {
                    Some(most) if most == least => format!("{{{least}}}"),
                    Some(most) => format!("{{{least},{most}}}"),
                    None => format!("{{{least},}}"),
                };
                (sign, least, most)
            }
            _ => return Ok(piece),
        };
        if piece.may_be_empty && piece.grouped && most != Some(1) {
            // Whether it does so again, and what it has in the end, differs between engines.
            return Err(self.reader.unsupported("repeating a group that may match nothing", at));
        }
        if piece.breaks {
            // Whether it gives back half of a pair depends on what else is in the group.
            return Err(self.reader.unsupported(r"repeating a group with \R in it", at));
        }
        // Once more in brackets: what stands there may be several items, or an assertion.
        self.fast.insert_str(from.0, "(?:");
        self.exact.insert_str(from.1, "(?:");
        self.both(")");
        self.both(&sign);
        if self.reader.takes('?') {
            self.both("?");
        } else if self.reader.takes('+') {
            if piece.captures {
                // What the group has after a try that fails is Java's own.
                let what = "a possessive quantifier behind a group that is kept";
                return Err(self.reader.unsupported(what, at));
            }
            self.exact.insert_str(from.1, "(?>");
            self.irregular(")");
        }
        if matches!(self.reader.peek(), Some('*' | '+' | '?' | '{')) {
            return Err(self.reader.syntax("a quantifier stands behind another"));
        }
        Ok(Piece { may_be_empty: piece.may_be_empty || least == 0, ..piece })
    }

    /// The numbers between braces, to the closing one.
    fn counts(&mut self, at: usize) -> Result<(u32, Option<u32>), Error> {
        let none = Error::Syntax { what: "a { begins no number of times", at };
        let least = self.number().ok_or(none.clone())?;
        let most = if !self.reader.takes(',') {
            Some(least)
        } else if self.reader.peek() == Some('}') {
            None
        } else {
            Some(self.number().ok_or(none.clone())?)
        };
        if !self.reader.takes('}') || most.is_some_and(|most| most < least) {
            return Err(none);
        }
        Ok((least, most))
    }

    fn number(&mut self) -> Option<u32> {
        let mut number = None::<u32>;
        while let Some(digit) = self.reader.peek().and_then(|next| next.to_digit(10)) {
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(digit)?);
            self.reader.next();
        }
        number
    }
}
