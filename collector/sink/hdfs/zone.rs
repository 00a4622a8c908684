//! Time zones by the names that Java knows, and the fields of a calendar in them, as Java formats and rounds
//! them, in English.

use std::fmt::Write;

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};

/// Java's names of three letters that are no names of the tz database.
const SHORT: &[(&str, &str)] = &[
    ("ACT", "Australia/Darwin"),
    ("AET", "Australia/Sydney"),
    ("AGT", "America/Argentina/Buenos_Aires"),
    ("ART", "Africa/Cairo"),
    ("AST", "America/Anchorage"),
    ("BET", "America/Sao_Paulo"),
    ("BST", "Asia/Dhaka"),
    ("CAT", "Africa/Harare"),
    ("CNT", "America/St_Johns"),
    ("CST", "America/Chicago"),
    ("CTT", "Asia/Shanghai"),
    ("EAT", "Africa/Addis_Ababa"),
    ("ECT", "Europe/Paris"),
    ("IET", "America/Indiana/Indianapolis"),
    ("IST", "Asia/Kolkata"),
    ("JST", "Asia/Tokyo"),
    ("MIT", "Pacific/Apia"),
    ("NET", "Asia/Yerevan"),
    ("NST", "Pacific/Auckland"),
    ("PLT", "Asia/Karachi"),
    ("PNT", "America/Phoenix"),
    ("PRT", "America/Puerto_Rico"),
    ("PST", "America/Los_Angeles"),
    ("SST", "Pacific/Guadalcanal"),
    ("VST", "Asia/Ho_Chi_Minh"),
];

/// The zone that Java's `TimeZone.getTimeZone` gives for a name; none where it would silently take GMT.
pub fn named(name: &str) -> Option<TimeZone> {
    if let Some(custom) = name.strip_prefix("GMT").filter(|rest| !rest.is_empty()) {
        return offset(custom).map(TimeZone::fixed).or_else(|| TimeZone::get(name).ok());
    }
    let short = SHORT.iter().find(|(short, _)| *short == name);
    TimeZone::get(short.map_or(name, |(_, long)| long)).ok()
}

/// `+8`, `-08`, `+800`, `+0800` or `+8:00`.
fn offset(text: &str) -> Option<Offset> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = &text[1..];
    let (hours, minutes) = match digits.split_once(':') {
        Some((hours, minutes)) if minutes.len() == 2 => (hours, minutes),
        Some(_) => return None,
        None if digits.len() > 2 => digits.split_at_checked(digits.len() - 2)?,
        None => (digits, "0"),
    };
    let number = |text: &str, most: i32| {
        let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|&number: &i32| is_number && number <= most)
    };
    Offset::from_seconds(sign * (number(hours, 23)? * 3600 + number(minutes, 59)? * 60)).ok()
}

/// What a time is rounded down to: a multiple, within the field above, of a field of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// So many seconds, within the minute.
    Seconds(i8),
    /// So many minutes, within the hour.
    Minutes(i8),
    /// So many hours, within the day.
    Hours(i8),
}

/// A time in a zone, rounded down if asked for; none beyond the years that a calendar has here.
///
/// What is rounded are the fields of the calendar, as in Java: where summer time ends, an hour that comes
/// twice counts as its second.
pub fn at(millis: i64, zone: &TimeZone, rounding: Option<Rounding>) -> Option<Zoned> {
    let time = Timestamp::from_millisecond(millis).ok()?.to_zoned(zone.clone());
    let Some(rounding) = rounding else { return Some(time) };
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    let (hour, minute, second) = match rounding {
        Rounding::Seconds(by) => (hour, minute, second - second % by),
        Rounding::Minutes(by) => (hour, minute - minute % by, 0),
        Rounding::Hours(by) => (hour - hour % by, 0, 0),
    };
    let rounded: DateTime = time.date().at(hour, minute, second, 0);
    zone.to_ambiguous_zoned(rounded).later().ok()
}

/// Whether this letter is an escape of a time.
pub fn is_field(letter: char) -> bool {
    "aAbBcdeDHIjklmMnpsStyYz".contains(letter)
}

/// Adds what an escape stands for at a time; `millis` is the time that was not rounded.
pub fn write(letter: char, time: &Zoned, millis: i64, out: &mut String) {
    const DAYS: [&str; 7] =
        ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let day = DAYS[time.weekday().to_monday_zero_offset() as usize];
    let month = MONTHS[time.month() as usize - 1];
    // Java's calendar counts the years before Christ from 1.
    let year = if time.year() > 0 { time.year() } else { 1 - time.year() };
    let half = if time.hour() % 12 == 0 { 12 } else { time.hour() % 12 };
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    let written = match letter {
        'a' => write!(out, "{}", &day[..3]),
        'A' => write!(out, "{day}"),
        'b' => write!(out, "{}", &month[..3]),
        'B' => write!(out, "{month}"),
        'c' => write!(
            out,
            "{} {} {} {hour:02}:{minute:02}:{second:02} {year:04}",
            &day[..3],
            &month[..3],
            time.day()
        ),
        'd' => write!(out, "{:02}", time.day()),
        'e' => write!(out, "{}", time.day()),
        'D' => write!(out, "{:02}/{:02}/{:02}", time.month(), time.day(), year % 100),
        'H' => write!(out, "{hour:02}"),
        'I' => write!(out, "{half:02}"),
        'j' => write!(out, "{:03}", time.day_of_year()),
        'k' => write!(out, "{hour}"),
        'l' => write!(out, "{half}"),
        'm' => write!(out, "{:02}", time.month()),
        'M' => write!(out, "{minute:02}"),
        'n' => write!(out, "{}", time.month()),
        'p' => write!(out, "{}", if hour < 12 { "AM" } else { "PM" }),
        's' => write!(out, "{}", time.timestamp().as_millisecond() / 1000),
        'S' => write!(out, "{second:02}"),
        't' => write!(out, "{millis}"),
        'y' => write!(out, "{:02}", year % 100),
        'Y' => write!(out, "{year:04}"),
        'z' => {
            let minutes = time.offset().seconds() / 60;
            let sign = if minutes < 0 { '-' } else { '+' };
            write!(out, "{sign}{:02}{:02}", minutes.abs() / 60, minutes.abs() % 60)
        }
        // An unknown one stands for nothing.
        _ => Ok(()),
    };
    written.expect("a string takes it");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(letters: &str, millis: i64, zone: &str, rounding: Option<Rounding>) -> String {
        let time = at(millis, &named(zone).unwrap(), rounding).unwrap();
        let mut out = String::new();
        for letter in letters.chars() {
            if letter.is_ascii_alphabetic() {
                write(letter, &time, millis, &mut out);
            } else {
                out.push(letter);
            }
        }
        out
    }

    /// 2015-10-16 17:38:59.123 in Shanghai.
    const THEN: i64 = 1_444_988_339_123;

    #[test]
    fn every_escape_is_as_java_formats_it() {
        let then = |letters| shown(letters, THEN, "Asia/Shanghai", None);
        assert_eq!(then("a A b B c"), "Fri Friday Oct October Fri Oct 16 17:38:59 2015");
        assert_eq!(then("d e D H I j k l"), "16 16 10/16/15 17 05 289 17 5");
        assert_eq!(then("m M n p s S t"), "10 38 10 PM 1444988339 59 1444988339123");
        assert_eq!(then("y Y z q"), "15 2015 +0800 ");
        // 2021-01-02 00:03:04 in New York.
        let early = |letters| shown(letters, 1_609_563_784_000, "America/New_York", None);
        assert_eq!(early("d e D H I j k l m n p z"), "02 2 01/02/21 00 12 002 0 12 01 1 AM -0500");
    }

    #[test]
    fn fields_are_rounded_in_their_zone() {
        let rounded = |by, zone| shown("Y-m-d HMS s", THEN, zone, Some(by));
        assert_eq!(rounded(Rounding::Seconds(10), "CTT"), "2015-10-16 173850 1444988330");
        assert_eq!(rounded(Rounding::Minutes(10), "CTT"), "2015-10-16 173000 1444987800");
        assert_eq!(rounded(Rounding::Hours(6), "CTT"), "2015-10-16 120000 1444968000");
        assert_eq!(rounded(Rounding::Hours(24), "CTT"), "2015-10-16 000000 1444924800");
        assert_eq!(rounded(Rounding::Minutes(7), "GMT+5:45"), "2015-10-16 152100 1444988160");
        assert_eq!(rounded(Rounding::Minutes(60), "UTC"), "2015-10-16 090000 1444986000");
    }

    #[test]
    fn around_summer_time_an_hour_is_missing_and_another_comes_twice() {
        let berlin = "Europe/Berlin";
        // 2024-03-31: at 01:00 UTC 02:00 becomes 03:00.
        let spring = 1_711_846_800_000;
        assert_eq!(shown("HMS z", spring - 1, berlin, None), "015959 +0100");
        assert_eq!(shown("HMS z", spring, berlin, None), "030000 +0200");
        // Rounded down by two hours it would be 02:00, which is not there.
        assert_eq!(
            shown("HMS z", spring + 60_000, berlin, Some(Rounding::Hours(2))),
            "030000 +0200"
        );
        // 2024-10-27: at 01:00 UTC 03:00 becomes 02:00. The first 02:35 is rounded into the second hour.
        let autumn = 1_729_990_800_000;
        let first = autumn - 25 * 60_000;
        assert_eq!(shown("HM z", first, berlin, None), "0235 +0200");
        assert_eq!(shown("HM z", first, berlin, Some(Rounding::Minutes(10))), "0230 +0100");
        assert_eq!(
            shown("HM z", first + 3_600_000, berlin, Some(Rounding::Minutes(10))),
            "0230 +0100"
        );
    }

    #[test]
    fn zones_have_the_names_that_java_knows() {
        let offset = |name: &str| {
            let zone = named(name)?;
            Some(zone.to_offset(Timestamp::from_millisecond(THEN).unwrap()).seconds())
        };
        for (name, seconds) in [
            ("GMT+8", 28_800),
            ("GMT+08:00", 28_800),
            ("GMT-0330", -12_600),
            ("GMT-330", -12_600),
            ("GMT", 0),
            ("UTC", 0),
            ("PST", -25_200),
            ("JST", 32_400),
            ("EST", -18_000),
            ("Asia/Shanghai", 28_800),
            ("Etc/GMT-8", 28_800),
        ] {
            assert_eq!(offset(name), Some(seconds), "{name}");
        }
        // Java takes GMT for these without a word.
        for name in ["UTC+8", "GMT+24", "GMT+8:0", "GMT+08000", "Asia/Shangai", "+08:00", ""] {
            assert_eq!(offset(name), None, "{name}");
        }
    }
}
