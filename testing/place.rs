//! A directory to run the program in, empty or with the example of the formats.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::exported::Exported;
use crate::folder;
use crate::program::{self, Outcome};

/// The example of the formats: a click.
pub const CLICK: &str = r#"{"actionTime":"2019-04-10 18:15:32","readTime":"","channelId":18,"param":{"action": "click", "userId": "2", "articleId": "18005", "algorithmCombine": "C2"}}"#;
/// The neighbours of its article.
pub const SIMILAR: &str = "18005\t14299\t0.91\n18005\t18577\t9e-05\n18005\t116644\t0.97\n";
/// What its user has seen.
pub const HISTORY: &str = "2\t18\t1599999999000\t[14299,]\n";

/// One millisecond before the epoch of the example.
pub const AT: &str = "2020-09-13T12:26:40Z";

/// A directory to run the program in.
pub struct Place(TempDir);

impl Place {
    /// With nothing in it.
    #[track_caller]
    pub fn empty() -> Place {
        Place(folder())
    }

    /// With the example replayed into the store `s`.
    #[track_caller]
    pub fn example() -> Place {
        let place = Place::empty();
        place.write("a.log", format!("{CLICK}\n"));
        place.write("new.log", "18,13894\nCreateTime:1500\t18,7\n");
        place.write("similar.tsv", SIMILAR);
        place.write("history.tsv", HISTORY);
        place.run("tables load --history history.tsv --store s").done();
        let line =
            format!("replay a.log --articles new.log --similar similar.tsv --store s --at {AT}");
        place.run(&line).done();
        place
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    /// The path of a file in it.
    #[track_caller]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, with the folders that it stands in.
    #[track_caller]
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    /// Writes more behind what stands in a file.
    #[track_caller]
    pub fn append(&self, name: &str, text: &str) {
        self.write(name, [fs::read(self.path(name)).unwrap(), text.into()].concat());
    }

    /// Runs the program in it, with the arguments of a line.
    #[track_caller]
    pub fn run(&self, line: &str) -> Outcome {
        program::run_line(self.0.path(), line)
    }

    /// What stands in the store `s`.
    #[track_caller]
    pub fn export(&self) -> Exported {
        Exported::of(&self.path("s"))
    }

    /// Runs a command that must be refused and change nothing.
    #[track_caller]
    pub fn refuses(&self, line: &str, status: i32, said: &[&str]) {
        let before = self.path("s").exists().then(|| self.export());
        self.run(line).refused(status, said);
        if let Some(before) = before {
            self.export().must_be(&before, "after a refusal");
        }
    }
}
