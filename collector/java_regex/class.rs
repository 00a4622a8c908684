//! Character classes: Java's, written as those of our engines.

use super::Error;
use super::reader::Reader;

/// Line terminators, inside of a class.
pub(super) const TERMINATORS: &str = r"\n\r\x{85}\x{2028}\x{2029}";

/// What a letter behind a backslash stands for, as the inside of a class; in capitals, all but that.
pub(super) fn escaped(letter: char) -> Option<&'static str> {
    Some(match letter.to_ascii_lowercase() {
        'd' => "0-9",
        'w' => "a-zA-Z_0-9",
        's' => r" \t\n\x0B\x0C\r",
        'h' => r" \t\x{A0}\x{1680}\x{180e}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}",
        'v' => r"\n\x0B\x0C\r\x{85}\x{2028}\x{2029}",
        _ => return None,
    })
}

/// POSIX's classes, which are ASCII's.
fn posix(name: &str) -> Option<&'static str> {
    Some(match name {
        "Lower" => "a-z",
        "Upper" => "A-Z",
        "ASCII" => r"\x00-\x7F",
        "Alpha" => "a-zA-Z",
        "Digit" => "0-9",
        "Alnum" => "a-zA-Z0-9",
        "Punct" => r"!-/:-@\[-`\{-\x7E",
        "Graph" => r"!-\x7E",
        "Print" => r"\x20-\x7E",
        "Blank" => r"\x20\t",
        "Cntrl" => r"\x00-\x1F\x7F",
        "XDigit" => "0-9a-fA-F",
        "Space" => r"\x20\t\n\x0B\x0C\r",
        _ => return None,
    })
}

/// Unicode's general categories.
const CATEGORIES: [&str; 37] = [
    "C", "Cc", "Cf", "Cn", "Co", "L", "LC", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn",
    "N", "Nd", "Nl", "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm",
    "So", "Z", "Zl", "Zp", "Zs",
];

/// Unicode's properties of yes and no that both sides define alike.
const BINARY: [&str; 5] = ["Alphabetic", "Ideographic", "Lowercase", "Uppercase", "White_Space"];

/// A property as `\p` names it, as a class of its own.
pub(super) fn property(name: &str, negated: bool, ignores_case: bool) -> Option<String> {
    let not = if negated { "^" } else { "" };
    if let Some(inside) = posix(name) {
        let is_of_case = matches!(name, "Lower" | "Upper");
        return (!(is_of_case && ignores_case)).then(|| format!("[{not}{inside}]"));
    }
    let (named, is) = match name.strip_prefix("Is") {
        Some(named) => (named, true),
        None => (name, false),
    };
    let script = named.strip_prefix("script=").or_else(|| named.strip_prefix("sc="));
    let inside = if let Some(script) = script.filter(|_| !is) {
        format!(r"\p{{Script={script}}}")
    } else if CATEGORIES.contains(&named) {
        let is_of_case = matches!(named, "Ll" | "Lu" | "Lt" | "LC");
        if is_of_case && ignores_case {
            return None;
        }
        format!(r"\p{{{named}}}")
    } else if is && BINARY.iter().any(|known| known.eq_ignore_ascii_case(named)) {
        let is_of_case = named.to_ascii_lowercase().ends_with("case");
        if is_of_case && ignores_case {
            return None;
        }
        format!(r"\p{{{named}}}")
    } else if is {
        format!(r"\p{{Script={named}}}")
    } else {
        return None;
    };
    let class = format!("[{not}{inside}]");
    regex::Regex::new(&class).is_ok().then_some(class)
}

/// A character as it may stand in a class or outside of one.
pub(super) fn literal(character: char, to: &mut String) {
    if character.is_ascii_alphanumeric() || !character.is_ascii() {
        to.push(character);
    } else {
        *to += &format!(r"\x{{{:X}}}", character as u32);
    }
}

/// A range, and where case is ignored what it has in the other case.
fn range(from: char, to: char, ignores_case: bool, class: &mut String) {
    let mut push = |from: char, to: char| {
        literal(from, class);
        if from != to {
            class.push('-');
            literal(to, class);
        }
    };
    push(from, to);
    if ignores_case {
        for (first, last, other) in [('a', 'z', 'A'), ('A', 'Z', 'a')] {
            let (first_in, last_in) = (from.max(first), to.min(last));
            if first_in <= last_in {
                let moved = |letter: char| char::from(letter as u8 - first as u8 + other as u8);
                push(moved(first_in), moved(last_in));
            }
        }
    }
}

/// A character by itself, outside of a class.
pub(super) fn character(character: char, ignores_case: bool, to: &mut String) {
    if ignores_case && character.is_ascii_alphabetic() {
        to.push('[');
        range(character, character, true, to);
        to.push(']');
    } else {
        literal(character, to);
    }
}

/// Reads a class behind its opening bracket.
pub(super) fn read(reader: &mut Reader<'_>, ignores_case: bool) -> Result<String, Error> {
    let mut class = String::from("[");
    let negated = reader.takes('^');
    if negated {
        class.push('^');
    }
    let (mut items, mut has_nested, mut operands) = (0, false, 0);
    loop {
        let at = reader.at();
        let Some(next) = reader.next() else {
            return Err(reader.syntax("a character class is not closed"));
        };
        match next {
            ']' if items > 0 => break,
            '[' => {
                let nested = read(reader, ignores_case)?;
                has_nested = true;
                class += &nested;
            }
            '&' if reader.peek() == Some('&') => {
                reader.next();
                // Java reads what follows in ways of its own, unless it is one class or characters alone.
                if items == 0 || reader.peek() == Some('&') || reader.peek() == Some(']') {
                    return Err(reader.unsupported("an empty side of &&", at));
                }
                operands += 1;
                class += "&&";
                if reader.takes('[') {
                    let nested = read(reader, ignores_case)?;
                    class += &nested;
                    if !matches!(reader.peek(), Some(']' | '&')) {
                        return Err(reader.unsupported("more behind a class that follows &&", at));
                    }
                }
                items = 1;
                continue;
            }
            '\\' => match reader.next() {
                Some('Q') => {
                    for quoted in reader.quoted() {
                        range(quoted, quoted, ignores_case, &mut class);
                        items += 1;
                    }
                    continue;
                }
                Some(letter) => match set(reader, letter, ignores_case, at)? {
                    Some(set) => class += &set,
                    None => {
                        let from = reader.escape(letter, at)?;
                        ends(reader, from, ignores_case, &mut class)?;
                    }
                },
                None => return Err(reader.syntax("nothing stands behind the last backslash")),
            },
            from => ends(reader, from, ignores_case, &mut class)?,
        }
        items += 1;
    }
    // Whether a ^ counts for the first operand or the whole has changed with Java 9.
    if negated && (has_nested || operands > 0) {
        return Err(
            reader.unsupported("a negated class with another in it, or with &&", reader.at())
        );
    }
    class.push(']');
    Ok(class)
}

/// What a letter behind a backslash stands for if it is a set: a class of its own.
pub(super) fn set(
    reader: &mut Reader<'_>,
    letter: char,
    ignores_case: bool,
    at: usize,
) -> Result<Option<String>, Error> {
    if let Some(inside) = escaped(letter) {
        let not = if letter.is_ascii_uppercase() { "^" } else { "" };
        return Ok(Some(format!("[{not}{inside}]")));
    }
    if !matches!(letter, 'p' | 'P') {
        return Ok(None);
    }
    let name = if reader.takes('{') {
        let mut name = String::new();
        loop {
            match reader.next() {
                Some('}') => break name,
                Some(next) => name.push(next),
                None => return Err(reader.syntax("a property is not closed")),
            }
        }
    } else {
        reader.next().map(String::from).unwrap_or_default()
    };
    match property(&name, letter == 'P', ignores_case) {
        Some(class) => Ok(Some(class)),
        None => {
            let case = if ignores_case { " (with (?i))" } else { "" };
            Err(reader.unsupported(&format!(r"\{letter}{{{name}}}{case}"), at))
        }
    }
}

/// Reads what follows the first end of what may be a range.
fn ends(
    reader: &mut Reader<'_>,
    from: char,
    ignores_case: bool,
    class: &mut String,
) -> Result<(), Error> {
    let mut to = from;
    if reader.peek() == Some('-') && !matches!(reader.peek_second(), Some(']' | '[') | None) {
        let at = reader.at();
        reader.next();
        to = match reader.next() {
            Some('\\') => {
                let letter = reader.next();
                let letter = letter
                    .ok_or_else(|| reader.syntax("nothing stands behind the last backslash"))?;
                if escaped(letter).is_some() || matches!(letter, 'p' | 'P' | 'Q') {
                    return Err(reader.unsupported("a range that ends with a set", at));
                }
                reader.escape(letter, at)?
            }
            Some(to) => to,
            None => return Err(reader.syntax("a character class is not closed")),
        };
        if to < from {
            return Err(reader.syntax("a range ends before it begins"));
        }
    }
    range(from, to, ignores_case, class);
    Ok(())
}
