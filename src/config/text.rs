//! Strings of the configuration, which may be secrets.

use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A string of the configuration that does not give away its secrets.
///
/// `${env:NAME}` in it stands for a variable of the environment, `${file:PATH}` for what a file
/// holds, without the newline at its end. PATH is relative to the folder of the configuration file
/// (on the command line, to the current one), so that a file and its secrets move together.
/// What is put in is not looked at again.
///
/// `Debug` shows the string as it was written, with its references, and hides what is a secret by
/// its key. There is no `Display`: what is shown and what is used cannot be taken for each other.
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    text: String,
    shown: String,
}

/// Why a reference to a secret leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum Unresolved {
    /// `${` without anything known behind it.
    #[error("`${{` begins neither ${{env:NAME}} nor ${{file:PATH}}")]
    Unknown,
    /// No such variable, or it is not UTF-8.
    #[error("the environment has no variable {0:?} that is UTF-8")]
    Variable(String),
    /// No such file, or it is not UTF-8.
    #[error("cannot read {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl Text {
    /// The string, to be used and not to be shown.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The string as it may be shown.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Hides this part of what is shown; not where it is a reference, which gives nothing away.
    /// Says whether it did.
    pub(super) fn hide(&mut self, part: Range<usize>) -> bool {
        let secret = &self.shown[part.clone()];
        let reference = secret.starts_with("${") && secret.find('}') == Some(secret.len() - 1);
        let hides = !secret.is_empty() && !reference;
        if hides {
            self.shown.replace_range(part, "***");
        }
        hides
    }

    /// Puts in what the references in `written` stand for; `folder` is where files are looked for.
    pub(super) fn resolve(written: &str, folder: &Path) -> Result<Text, Unresolved> {
        let mut text = String::new();
        let mut rest = written;
        while let Some(at) = rest.find("${") {
            text.push_str(&rest[..at]);
            let end = rest[at..].find('}').map_or(rest.len(), |length| at + length + 1);
            let reference = rest[at + 2..end].strip_suffix('}');
            match reference.and_then(|reference| reference.split_once(':')) {
                Some(("env", name)) => {
                    let variable = std::env::var(name);
                    text.push_str(&variable.map_err(|_| Unresolved::Variable(name.to_owned()))?);
                }
                Some(("file", path)) => {
                    let path = folder.join(path);
                    let read = fs::read_to_string(&path)
                        .map_err(|error| Unresolved::File { path, error })?;
                    let line = read.strip_suffix('\n').unwrap_or(&read);
                    text.push_str(line.strip_suffix('\r').unwrap_or(line));
                }
                _ => return Err(Unresolved::Unknown),
            }
            rest = &rest[end..];
        }
        text.push_str(rest);
        Ok(Text { text, shown: written.to_owned() })
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text { shown: text.clone(), text }
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shown, f)
    }
}
