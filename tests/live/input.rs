//! What a site has: clicks, new articles, neighbours and histories, from the fixtures or a seed.

use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use online_recall::{decode, ledger};
use serde_json::Value;
use testing::oracle::Oracle;
use testing::random::Random;

/// How old a history may be: none expires while a test runs.
const OLDEST: u64 = 89 * DAY;
const DAY: u64 = 24 * 3600 * 1000;

/// Records and tables, as files hold them.
#[derive(Default)]
pub struct Input {
    /// Records of the topic of clicks.
    pub clicks: Vec<Vec<u8>>,
    /// Records of the topic of new articles.
    pub articles: Vec<Vec<u8>>,
    /// Neighbours, as `tables load` takes them.
    pub similar: Vec<u8>,
    /// Histories, likewise; dated so that they count today.
    pub history: Vec<u8>,
}

impl Input {
    /// The committed fixtures: every reason for a dead letter is among them.
    pub fn small() -> Input {
        Input::read(&testing::small())
    }

    /// What the generator makes of a seed: few users, articles and channels, and half of the records odd.
    pub fn nasty(seed: u64, clicks: usize, oracle: &mut Oracle) -> Input {
        let folder = testing::folder();
        let mut random = Random::new(seed);
        let (users, articles, channels) =
            (3 + random.below(20), 11 + random.below(40), 1 + random.below(5));
        let options = format!(
            "--nasty --seed {seed} --clicks {clicks} --users {users} --articles {articles} \
             --channels {channels}"
        );
        oracle.generate(folder.path(), &options);
        Input::read(folder.path())
    }

    /// What the generator makes of a seed: a day of many users, so that there is always more to recall;
    /// a third of the records is odd.
    pub fn usual(seed: u64, clicks: usize, oracle: &mut Oracle) -> Input {
        let folder = testing::folder();
        let options = format!(
            "--seed {seed} --clicks {clicks} --users 300 --articles 120 --channels 12 --garbage 0.3"
        );
        oracle.generate(folder.path(), &options);
        Input::read(folder.path())
    }

    /// The same, but nine of ten clicks are by one user, on one article and in one channel.
    pub fn pressed(mut self, seed: u64) -> Input {
        let mut random = Random::new(seed);
        let is_hit = |click: &&Vec<u8>| decode::click(click).is_ok_and(|event| event.is_some());
        let hit = self.clicks.iter().find(is_hit).unwrap().clone();
        for click in &mut self.clicks {
            if random.percent(90) {
                click.clone_from(&hit);
            }
        }
        self
    }

    fn read(folder: &Path) -> Input {
        let plan: Value =
            serde_json::from_slice(&fs::read(folder.join("plan.json")).unwrap()).unwrap();
        let files = |names: &Value| -> Vec<Vec<u8>> {
            let names = names.as_array().into_iter().flatten();
            names.map(|name| read(&folder.join(name.as_str().unwrap()))).collect()
        };
        let run = &plan["runs"][0];
        let lines = |topic: &str| -> Vec<Vec<u8>> {
            let mut all = Vec::new();
            for piece in run[topic].as_array().unwrap() {
                let text = read(&folder.join(piece["file"].as_str().unwrap()));
                let text = text.strip_suffix(b"\n").unwrap_or(&text);
                let lines = text.split(|byte| *byte == b'\n');
                all.extend(lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec()));
            }
            all
        };
        let at: jiff::Timestamp = run["at"].as_str().unwrap().parse().unwrap();
        let at = u64::try_from(at.as_millisecond()).unwrap();
        Input {
            clicks: lines("clicks"),
            articles: lines("articles"),
            similar: files(&plan["similar"]).concat(),
            history: of_today(&files(&plan["history"]).concat(), at),
        }
    }
}

/// The partition of a click, where clicks are keyed by user: all of one user's in one.
pub fn partition_of_user(click: &[u8], partitions: usize) -> usize {
    let click: Value = serde_json::from_slice(click).unwrap_or(Value::Null);
    let user = match &click["param"]["userId"] {
        Value::String(user) => user.clone(),
        other => other.to_string(),
    };
    let sum = user.bytes().fold(7usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    sum % partitions
}

/// Histories as they would stand if the fixture's moment were now; what is too old to count, or about to
/// be, is left out, and so is what is dated later.
fn of_today(history: &[u8], at: u64) -> Vec<u8> {
    let now = ledger::now();
    let mut all = Vec::new();
    for line in history.split_inclusive(|byte| *byte == b'\n') {
        let mut fields: Vec<_> = line.splitn(4, |byte| *byte == b'\t').collect();
        let date: u64 = std::str::from_utf8(fields[2]).unwrap().parse().unwrap();
        let Some(age) = at.checked_sub(date).filter(|age| (60_000..OLDEST).contains(age)) else {
            continue;
        };
        let date = (now - age).to_string();
        fields[2] = date.as_bytes();
        all.extend(fields.join(&b'\t'));
    }
    all
}

fn read(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    if path.extension().is_none_or(|extension| extension != "gz") {
        return bytes;
    }
    let mut text = Vec::new();
    MultiGzDecoder::new(&bytes[..]).read_to_end(&mut text).unwrap();
    text
}
