//! The forms of `tail` that a follower does.

use std::path::{Path, PathBuf};

use crate::source::follow::start::Start;

/// A file to follow, and where it begins at the very first start.
#[derive(Debug, PartialEq, Eq)]
pub struct Tail {
    /// The file.
    pub path: PathBuf,
    /// Where it begins.
    pub start: Start,
}

/// Why a command is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfollowed {
    /// It follows several files.
    Several,
    /// It counts bytes.
    Bytes,
    /// It is something for a shell, with tail in it.
    Shell,
    /// It is tail, in another way.
    Other,
    /// It is another program.
    NoTail,
}

impl Unfollowed {
    /// What to do instead, where tail was meant to follow something.
    pub fn advice(self) -> Option<&'static str> {
        Some(match self {
            Unfollowed::Several => {
                "a source of type TAILDIR with all these files, or a source with tail -F for each, loses nothing"
            }
            Unfollowed::Bytes => {
                "tail -F without -c is followed here, and loses nothing (-n +1 begins with the whole file)"
            }
            Unfollowed::Shell => {
                "tail -F with one file, and nothing else, is followed here, and loses nothing (what grep leaves out, \
                 an interceptor of type regex_filter can; a source of type TAILDIR takes patterns of names)"
            }
            Unfollowed::Other => {
                "tail -F with one file, and nothing else, is followed here, and loses nothing"
            }
            Unfollowed::NoTail => return None,
        })
    }
}

/// What a shell would take for more than words.
const OF_SHELL: &[char] = &[
    '|', '&', ';', '<', '>', '(', ')', '$', '`', '\\', '"', '\'', '*', '?', '[', '#', '~', '=',
    '%', '{', '\n',
];

impl Tail {
    /// What this command follows, if it is tail, and follows one file by its lines.
    ///
    /// # Errors
    ///
    /// If it is not, or does not.
    pub fn of(command: &str) -> Result<Tail, Unfollowed> {
        let mut words = command.split_whitespace();
        let is_tail = |word: &str| ["tail", "/usr/bin/tail", "/bin/tail"].contains(&word);
        if !words.next().is_some_and(is_tail) {
            // In a line for a shell it may stand anywhere.
            let has_tail = command
                .split(|letter: char| !(letter.is_alphanumeric() || "/-_.".contains(letter)));
            return Err(if has_tail.into_iter().any(is_tail) {
                Unfollowed::Other
            } else {
                Unfollowed::NoTail
            });
        }
        // What follows a minus may have an equals sign, and nothing else of these.
        if words.clone().any(|word| !word.starts_with('-') && word.contains(OF_SHELL)) {
            return Err(Unfollowed::Shell);
        }
        let (mut follows, mut start, mut paths) = (false, Start::Last(10), Vec::new());
        let mut only_paths = false;
        while let Some(word) = words.next() {
            if only_paths || !word.starts_with('-') || word == "-" {
                paths.push(word);
                continue;
            }
            if let Some(long) = word.strip_prefix("--") {
                match long.split_once('=').unwrap_or((long, "")) {
                    ("", "") => only_paths = true,
                    ("follow", "" | "name" | "descriptor") => follows = true,
                    ("lines", "") => start = lines(words.next().unwrap_or_default())?,
                    ("lines", number) => start = lines(number)?,
                    ("retry" | "quiet" | "silent", "") => {}
                    ("sleep-interval", "") => drop(words.next()),
                    ("sleep-interval", _) => {}
                    ("bytes", _) => return Err(Unfollowed::Bytes),
                    _ => return Err(Unfollowed::Other),
                }
                continue;
            }
            let mut letters = word[1..].chars();
            // An old form: -100f.
            let digits = word[1..].chars().take_while(char::is_ascii_digit).count();
            if digits > 0 {
                start = lines(&word[1..=digits])?;
                letters = word[1 + digits..].chars();
            }
            while let Some(letter) = letters.next() {
                let rest = letters.as_str();
                match letter {
                    'f' | 'F' => follows = true,
                    'q' => {}
                    'n' => {
                        start = lines(if rest.is_empty() {
                            words.next().unwrap_or_default()
                        } else {
                            rest
                        })?;
                        break;
                    }
                    's' => {
                        if rest.is_empty() {
                            words.next();
                        }
                        break;
                    }
                    'c' => return Err(Unfollowed::Bytes),
                    _ => return Err(Unfollowed::Other),
                }
            }
        }
        let path = match paths[..] {
            [path] if follows && path != "-" => path,
            [_, _, ..] if follows => return Err(Unfollowed::Several),
            _ => return Err(Unfollowed::Other),
        };
        let path = std::path::absolute(Path::new(path)).map_err(|_| Unfollowed::Other)?;
        Ok(Tail { path, start })
    }
}

fn lines(number: &str) -> Result<Start, Unfollowed> {
    let start = match number.strip_prefix('+') {
        Some(line) => line.parse().map(Start::Line),
        None => number.strip_prefix('-').unwrap_or(number).parse().map(Start::Last),
    };
    start.map_err(|_| Unfollowed::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_that_people_write_are_followed() {
        let follows = |command: &str, start| {
            let tail = Tail { path: "/var/log/a.log".into(), start };
            assert_eq!(Tail::of(command), Ok(tail), "{command}");
        };
        for command in [
            "tail -F /var/log/a.log",
            "tail -f /var/log/a.log",
            "/usr/bin/tail  -qF /var/log/a.log",
            "tail --follow=name --retry /var/log/a.log",
            "tail /var/log/a.log -F",
            "tail -F -s 1 -- /var/log/a.log",
        ] {
            follows(command, Start::Last(10));
        }
        for command in [
            "tail -n 0 -F /var/log/a.log",
            "tail -n0 -F /var/log/a.log",
            "tail -Fn0 /var/log/a.log",
            "tail -fn 0 /var/log/a.log",
            "tail -0f /var/log/a.log",
            "tail --lines=0 -f /var/log/a.log",
        ] {
            follows(command, Start::Last(0));
        }
        follows("tail -n +1 -F /var/log/a.log", Start::Line(1));
        follows("tail -F -n +12 /var/log/a.log", Start::Line(12));
    }

    #[test]
    fn any_other_command_runs_and_what_it_lacks_is_known() {
        use Unfollowed::*;
        for (command, why) in [
            ("cat /var/log/a.log", NoTail),
            ("", NoTail),
            ("detail -F /a", NoTail),
            ("tail -n 5 /var/log/a.log", Other),
            ("tail -c 100 -F /var/log/a.log", Bytes),
            ("tail -Fc +1 /var/log/a.log", Bytes),
            ("tail --bytes=5 -F /var/log/a.log", Bytes),
            ("tail -F /a /b", Several),
            ("tail -F /a -n 0 /b", Several),
            ("tail -F /var/log/a.log | grep x", Shell),
            ("tail -F '/var/log/a b'", Shell),
            ("tail -F /var/log/*.log", Shell),
            ("tail -F", Other),
            ("tail -F -", Other),
            ("tail -F /a -n", Other),
            ("tail -F --pid=1 /a", Other),
            ("sudo tail -F /a", Other),
            ("cat /a;tail -F /b", Other),
        ] {
            assert_eq!(Tail::of(command), Err(why), "{command}");
        }
    }
}
