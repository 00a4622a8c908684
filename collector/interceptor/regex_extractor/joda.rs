//! Dates as Joda's patterns write them, read into milliseconds since 1970.
//!
//! As Joda reads them: numbers may be shorter than their letters are many, names of months and days are
//! English and in any case, a text must be all of the date. What a pattern does not say is 1970-01-01 00:00;
//! the year is 2000 in one that begins with month or day. The time is local where no offset stands in it. A
//! name of a day says nothing: the date does.

use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    /// A letter means something in Joda that is not understood here.
    #[error("{0} is not supported in a date; y M d D E H k K h m s S a Z are")]
    Letter(String),
    /// A quote does not end.
    #[error("a quote does not end")]
    Quote,
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
}

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pieces: Vec<Piece>,
    /// The year in the middle of those that two digits may mean.
    pivot: i16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    /// A number of so many digits at most.
    Number(Field, usize),
    TwoDigitYear,
    /// Digits behind a point: so many.
    Fraction(usize),
    Month,
    Weekday,
    Half,
    Offset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Year,
    Month,
    Day,
    DayOfYear,
    /// From 0 to 23, or 24 in place of 0.
    Hour,
    HourTo24,
    /// From 0 to 11, or 12 in place of 0.
    HalfHour,
    HalfHourTo12,
    Minute,
    Second,
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

const DAYS: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// What was read of a date.
#[derive(Clone, Copy, Debug, Default)]
struct Read {
    year: Option<i16>,
    month: Option<i8>,
    day: Option<i8>,
    day_of_year: Option<i16>,
    hour: Option<i8>,
    half_hour: Option<i8>,
    afternoon: bool,
    minute: i8,
    second: i8,
    milliseconds: i32,
    offset: Option<Offset>,
}

impl Format {
    /// Understands a pattern.
    pub fn parse(pattern: &str) -> Result<Format, Error> {
        let (mut pieces, mut rest) = (Vec::new(), pattern.chars().peekable());
        let literal = |text: char, pieces: &mut Vec<Piece>| match pieces.last_mut() {
            Some(Piece::Literal(literal)) => literal.push(text),
            _ => pieces.push(Piece::Literal(text.to_string())),
        };
        while let Some(next) = rest.next() {
            if next == '\'' {
                if rest.next_if_eq(&'\'').is_some() {
                    literal('\'', &mut pieces);
                    continue;
                }
                loop {
                    match rest.next().ok_or(Error::Quote)? {
                        '\'' if rest.next_if_eq(&'\'').is_some() => literal('\'', &mut pieces),
                        '\'' => break,
                        quoted => literal(quoted, &mut pieces),
                    }
                }
                continue;
            }
            if !next.is_ascii_alphabetic() {
                literal(next, &mut pieces);
                continue;
            }
            let mut many = 1;
            while rest.next_if_eq(&next).is_some() {
                many += 1;
            }
            let numeric = rest.peek().is_some_and(|next| "yuYMdDHkKhmsSew".contains(*next));
            pieces.push(match (next, many) {
                ('y', 2) => Piece::TwoDigitYear,
                // One that numbers follow at once ends with its letters.
                ('y', many) => Piece::Number(Field::Year, if numeric { many } else { 9 }),
                ('M', 1 | 2) => Piece::Number(Field::Month, 2),
                ('M', _) => Piece::Month,
                ('d', _) => Piece::Number(Field::Day, 2),
                ('D', _) => Piece::Number(Field::DayOfYear, 3),
                ('E', _) => Piece::Weekday,
                ('H', _) => Piece::Number(Field::Hour, 2),
                ('k', _) => Piece::Number(Field::HourTo24, 2),
                ('K', _) => Piece::Number(Field::HalfHour, 2),
                ('h', _) => Piece::Number(Field::HalfHourTo12, 2),
                ('m', _) => Piece::Number(Field::Minute, 2),
                ('s', _) => Piece::Number(Field::Second, 2),
                ('S', many) => Piece::Fraction(many),
                ('a', _) => Piece::Half,
                ('Z', 1 | 2) => Piece::Offset,
                (letter, many) => return Err(Error::Letter(letter.to_string().repeat(many))),
            });
        }
        if pieces.is_empty() {
            return Err(Error::Empty);
        }
        Ok(Format { pieces, pivot: jiff::Zoned::now().year() - 30 })
    }

    /// Reads a date.
    pub fn milliseconds(&self, text: &str) -> Option<i64> {
        let (mut read, mut rest) = (Read::default(), text);
        for piece in &self.pieces {
            self.take(piece, &mut read, &mut rest)?;
        }
        if !rest.is_empty() {
            return None;
        }
        self.resolve(read)
    }

    fn take(&self, piece: &Piece, read: &mut Read, rest: &mut &str) -> Option<()> {
        match piece {
            Piece::Literal(literal) => {
                let there = rest.get(..literal.len())?;
                if there.to_lowercase() != literal.to_lowercase() {
                    return None;
                }
                *rest = &rest[literal.len()..];
            }
            Piece::Number(Field::Year, most) => {
                let negative = rest.strip_prefix('-');
                *rest = negative.or_else(|| rest.strip_prefix('+')).unwrap_or(rest);
                let year = i16::try_from(number(rest, *most)?).ok()?;
                read.year = Some(if negative.is_some() { -year } else { year });
            }
            Piece::Number(field, most) => read.set(*field, number(rest, *most)?)?,
            Piece::TwoDigitYear => {
                // More or fewer digits are the year itself.
                let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                let year = i16::try_from(number(rest, 9)?).ok()?;
                read.year = Some(if digits == 2 {
                    let low = self.pivot - 50;
                    low + (year - low).rem_euclid(100)
                } else {
                    year
                });
            }
            Piece::Fraction(most) => {
                let digits = rest.bytes().take(*most).take_while(u8::is_ascii_digit).count();
                if digits == 0 {
                    return None;
                }
                let (fraction, behind) = rest.split_at(digits);
                let padded: String = fraction.chars().chain("000".chars()).take(3).collect();
                read.milliseconds = padded.parse().ok()?;
                *rest = behind;
            }
            Piece::Month => read.month = Some(name(&MONTHS, rest)? as i8 + 1),
            Piece::Weekday => {
                name(&DAYS, rest)?;
            }
            Piece::Half => read.afternoon = name(&["am", "pm"], rest)? == 1,
            Piece::Offset => read.offset = Some(offset(rest)?),
        }
        Some(())
    }

    fn resolve(&self, read: Read) -> Option<i64> {
        let begins = self.pieces.iter().find(|piece| !matches!(piece, Piece::Literal(_)));
        let by_month_or_day = self.pieces.iter().any(|piece| {
            matches!(
                piece,
                Piece::Month
                    | Piece::Weekday
                    | Piece::Number(Field::Month | Field::Day | Field::DayOfYear, _)
            )
        });
        debug_assert!(begins.is_some(), "a pattern has more than literals, or says nothing");
        let year = read.year.unwrap_or(if by_month_or_day { 2000 } else { 1970 });
        let date = match read.day_of_year {
            Some(day) => Date::new(year, 1, 1).ok()?.with().day_of_year(day).build().ok()?,
            None => Date::new(year, read.month.unwrap_or(1), read.day.unwrap_or(1)).ok()?,
        };
        let hour = match (read.hour, read.half_hour) {
            (Some(hour), _) => hour,
            (None, half) => half.unwrap_or(0) + if read.afternoon { 12 } else { 0 },
        };
        let time = Time::new(hour, read.minute, read.second, read.milliseconds * 1_000_000).ok()?;
        let local = date.to_datetime(time);
        let zone = match read.offset {
            Some(offset) => TimeZone::fixed(offset),
            None => TimeZone::system(),
        };
        let ambiguous = zone.to_ambiguous_timestamp(local);
        // A time that the clocks skip is none; of two, the earlier counts.
        if matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. }) {
            return None;
        }
        Some(ambiguous.earlier().ok()?.as_millisecond())
    }
}

impl Read {
    fn set(&mut self, field: Field, number: u32) -> Option<()> {
        let small = i8::try_from(number).ok();
        let within = |least: i8, most: i8| small.filter(|small| (least..=most).contains(small));
        match field {
            Field::Year => self.year = Some(i16::try_from(number).ok()?),
            Field::Month => self.month = Some(within(1, 12)?),
            Field::Day => self.day = Some(within(1, 31)?),
            Field::DayOfYear => self.day_of_year = Some(i16::try_from(number).ok()?),
            Field::Hour => self.hour = Some(within(0, 23)?),
            Field::HourTo24 => self.hour = Some(within(1, 24)? % 24),
            Field::HalfHour => self.half_hour = Some(within(0, 11)?),
            Field::HalfHourTo12 => self.half_hour = Some(within(1, 12)? % 12),
            Field::Minute => self.minute = within(0, 59)?,
            Field::Second => self.second = within(0, 59)?,
        }
        Some(())
    }
}

/// Takes a number of so many digits at most.
fn number(rest: &mut &str, most: usize) -> Option<u32> {
    let digits = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let (number, behind) = rest.split_at(digits);
    *rest = behind;
    number.parse().ok()
}

/// Takes a name, or its first three letters, in any case; says which it is.
fn name(names: &[&str], rest: &mut &str) -> Option<usize> {
    let lower = rest.to_lowercase();
    let begins = |name: &&str| lower.starts_with(name);
    let (place, length) = names.iter().enumerate().find_map(|(place, name)| {
        let found = [*name, name.get(..3).unwrap_or(name)].into_iter().find(begins);
        Some((place, found?.len()))
    })?;
    *rest = rest.get(length..)?;
    Some(place)
}

/// Takes an offset: `Z`, `+08`, `+0800`, `+08:00`, with seconds if they are there.
fn offset(rest: &mut &str) -> Option<Offset> {
    if let Some(behind) = rest.strip_prefix(['Z', 'z']) {
        *rest = behind;
        return Some(Offset::UTC);
    }
    let sign = match rest.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    *rest = &rest[1..];
    let two = |rest: &mut &str| {
        let digits = rest.get(..2).filter(|two| two.bytes().all(|byte| byte.is_ascii_digit()))?;
        *rest = &rest[2..];
        digits.parse::<i32>().ok()
    };
    let mut seconds = two(rest).filter(|hours| *hours <= 23)? * 3600;
    let mut colons = None;
    for unit in [60, 1] {
        let (has_colon, behind) = match rest.strip_prefix(':') {
            Some(behind) => (true, behind),
            None => (false, *rest),
        };
        let follows = behind.starts_with(|next: char| next.is_ascii_digit());
        if !follows || colons.is_some_and(|colons| colons != has_colon) {
            break;
        }
        colons = Some(has_colon);
        *rest = behind;
        seconds += two(rest).filter(|number| *number <= 59)? * unit;
    }
    Offset::from_seconds(sign * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pattern: &str, text: &str) -> Option<i64> {
        Format::parse(pattern).unwrap().milliseconds(text)
    }

    fn utc(text: &str) -> Option<i64> {
        Some(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    #[test]
    fn dates_of_logs_are_read() {
        for (pattern, text, expected) in [
            ("dd/MMM/yyyy:HH:mm:ss Z", "16/Oct/2015:17:38:59 +0800", "2015-10-16T09:38:59Z"),
            (
                "yyyy-MM-dd'T'HH:mm:ss.SSSZ",
                "2015-10-16T17:38:59.123-01:30",
                "2015-10-16T19:08:59.123Z",
            ),
            ("yyyy-MM-dd'T'HH:mm:ssZZ", "2015-10-16T17:38:59Z", "2015-10-16T17:38:59Z"),
            (
                "EEE MMM d HH:mm:ss Z yyyy",
                "FRI october 6 07:08:09 +0000 2015",
                "2015-10-06T07:08:09Z",
            ),
            ("yyyyMMddHHmmss Z", "20151016173859 +00", "2015-10-16T17:38:59Z"),
            ("MM/dd/yy hh:mm a Z", "10/16/15 12:30 AM +0000", "2015-10-16T00:30:00Z"),
            ("MM/dd/yy hh:mm a Z", "10/16/99 12:30 PM +0000", "1999-10-16T12:30:00Z"),
            ("yyyy.D k Z", "2015.32 24 +0000", "2015-02-01T00:00:00Z"),
            (
                "MMM dd HH:mm:ss Z",
                "Mar  1 00:00:00 +0000".replace("  ", " ").as_str(),
                "2000-03-01T00:00:00Z",
            ),
            ("HH:mm Z", "01:02 +0000", "1970-01-01T01:02:00Z"),
            ("HH'h'''mm Z", "01H'02 +0000", "1970-01-01T01:02:00Z"),
            ("yyyy Z", "2015 +0000", "2015-01-01T00:00:00Z"),
        ] {
            assert_eq!(read(pattern, text), utc(expected), "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for (pattern, text) in [
            ("yyyy-MM-dd Z", "2015-02-30 +0000"),
            ("yyyy-MM-dd Z", "2015-13-01 +0000"),
            ("yyyy-MM-dd Z", "2015-01-01 +0000 "),
            ("yyyy-MM-dd Z", "2015-01-01 0000"),
            ("HH:mm Z", "24:00 +0000"),
            ("MMM Z", "Foo +0000"),
            ("SSS Z", "x +0000"),
        ] {
            assert_eq!(read(pattern, text), None, "{pattern} {text}");
        }
    }

    #[test]
    fn letters_that_are_not_understood_are_refused_by_name() {
        for (pattern, named) in [("yyyy ZZZ", "ZZZ"), ("z", "z"), ("xxxx-ww", "xxxx"), ("G", "G")] {
            assert_eq!(Format::parse(pattern), Err(Error::Letter(named.to_owned())));
        }
        assert_eq!(Format::parse("'a"), Err(Error::Quote));
    }
}
