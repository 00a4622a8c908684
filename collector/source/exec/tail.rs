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

/// What a shell would take for more than words.
const OF_SHELL: &[char] = &[
    '|', '&', ';', '<', '>', '(', ')', '$', '`', '\\', '"', '\'', '*', '?', '[', '#', '~', '=',
    '%', '{', '\n',
];

impl Tail {
    /// What this command follows, if it is tail, and follows one file by its lines.
    pub fn of(command: &str) -> Option<Tail> {
        let mut words = command.split_whitespace();
        let program = words.next()?;
        if !["tail", "/usr/bin/tail", "/bin/tail"].contains(&program) {
            return None;
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
                    ("lines", "") => start = lines(words.next()?)?,
                    ("lines", number) => start = lines(number)?,
                    ("retry" | "quiet" | "silent", "") => {}
                    ("sleep-interval", "") => drop(words.next()?),
                    ("sleep-interval", _) => {}
                    _ => return None,
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
                        start = lines(if rest.is_empty() { words.next()? } else { rest })?;
                        break;
                    }
                    's' => {
                        if rest.is_empty() {
                            words.next()?;
                        }
                        break;
                    }
                    _ => return None,
                }
            }
        }
        let [path] = paths[..] else { return None };
        if !follows || path == "-" || path.contains(OF_SHELL) {
            return None;
        }
        let path = std::path::absolute(Path::new(path)).ok()?;
        Some(Tail { path, start })
    }
}

fn lines(number: &str) -> Option<Start> {
    match number.strip_prefix('+') {
        Some(line) => line.parse().ok().map(Start::Line),
        None => number.strip_prefix('-').unwrap_or(number).parse().ok().map(Start::Last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_that_people_write_are_followed() {
        let follows = |command: &str, start| {
            let tail = Tail { path: "/var/log/a.log".into(), start };
            assert_eq!(Tail::of(command), Some(tail), "{command}");
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
    fn any_other_command_runs() {
        for command in [
            "cat /var/log/a.log",
            "tail -n 5 /var/log/a.log",
            "tail -c 100 -F /var/log/a.log",
            "tail -F /a /b",
            "tail -F /var/log/a.log | grep x",
            "tail -F '/var/log/a b'",
            "tail -F /var/log/*.log",
            "tail -F",
            "tail -F -",
            "tail -F --pid=1 /a",
            "sudo tail -F /a",
            "",
        ] {
            assert_eq!(Tail::of(command), None, "{command}");
        }
    }
}
