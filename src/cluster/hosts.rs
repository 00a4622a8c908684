//! The host file: where the processes of a cluster listen for each other.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::Address;

/// Why a host file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read the host file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A line is no address.
    #[error("{}:{line}: `{text}` is no HOST:PORT, such as 10.0.0.1:2101", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line's number.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// Two processes would listen on one address.
    #[error("{}:{line}: {address} stands there twice; each process has an address of its own", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// The number of the second line.
        line: usize,
        /// The address.
        address: String,
    },
    /// There are too few lines.
    #[error("{} has {found} addresses, and {wanted} processes need one each", path.display())]
    TooFew {
        /// The file.
        path: PathBuf,
        /// How many there are.
        found: usize,
        /// How many there are to be.
        wanted: usize,
    },
}

/// Reads where so many processes listen: a line `HOST:PORT` a process, in their order. Empty lines and
/// those that begin with `#` are passed over, and so is what stands behind the last process.
///
/// # Errors
///
/// If it cannot be read, a line is no address, or there are too few.
pub fn read(path: &Path, processes: usize) -> Result<Vec<Address>, Error> {
    let of = || path.to_owned();
    let text =
        fs::read_to_string(path).map_err(|source| Error::Unreadable { path: of(), source })?;
    let mut hosts: Vec<Address> = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let Some(address) = Address::parse(text) else {
            return Err(Error::Line { path: of(), line, text: text.to_owned() });
        };
        if hosts.contains(&address) {
            return Err(Error::Twice { path: of(), line, address: address.to_string() });
        }
        hosts.push(address);
    }
    if hosts.len() < processes {
        return Err(Error::TooFew { path: of(), found: hosts.len(), wanted: processes });
    }
    hosts.truncate(processes);
    Ok(hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, processes: usize) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        fs::write(&path, text).unwrap();
        let hosts = read(&path, processes).map_err(|error| error.to_string())?;
        Ok(hosts.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_process_has_a_line_and_remarks_have_none() {
        let text = "# the cluster\n a:2101 \n\n10.0.0.2:2102\r\nc:2103\n";
        assert_eq!(of(text, 2).unwrap(), ["a:2101", "10.0.0.2:2102"]);
        for (text, said) in [
            ("a:1\nb\n", ":2: `b` is no HOST:PORT"),
            ("a:1\na:1\n", ":2: a:1 stands there twice"),
            ("a:1\n", "has 1 addresses, and 2 processes"),
        ] {
            let error = of(text, 2).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        assert!(read(Path::new("/nowhere/hosts"), 1).unwrap_err().to_string().contains("/nowhere"));
    }
}
