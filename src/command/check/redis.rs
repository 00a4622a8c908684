//! Redis, judged by what it says of itself: `INFO`, and its clock.

use std::fmt;
use std::str::FromStr;

use super::servers::{Found, Server};
use crate::config;
use crate::redis::{Client, Info};
use crate::retry::chain;

/// The first version that has all commands of the job: ZMSCORE is the newest.
const OLDEST: (u32, u32) = (6, 2);

/// How far clocks may differ before it is said, in milliseconds.
const SKEW: i64 = 1000;

/// Of how many percent of its memory's bound it is said that little is left.
const FULL: u64 = 90;

/// Asks the server, or all masters of the Cluster.
pub(super) fn ask(config: &config::Redis) -> Vec<Found> {
    let (urls, cluster) = match &config.nodes {
        config::Nodes::Server(url) => (std::slice::from_ref(url), false),
        config::Nodes::Cluster(urls) => (&urls[..], true),
    };
    let wanted = Wanted { cluster, replicas: config.replicas };
    match Client::new(config).and_then(|mut client| client.infos()) {
        Ok(infos) => {
            let judge = |Info { node, text, ahead }: &Info| {
                Said { node: node.to_string(), info: text, ahead: *ahead }.judge(wanted)
            };
            infos.iter().flat_map(judge).collect()
        }
        Err(error) => {
            let shown: Vec<_> = urls.iter().map(|url| url.shown()).collect();
            let at = Server::Redis(shown.join(", "));
            vec![at.mistake(chain(&error), "start it, or mend redis.url")]
        }
    }
}

/// What a node has said.
pub(super) struct Said<'a> {
    /// Where it is.
    pub node: String,
    /// The answer to `INFO`.
    pub info: &'a str,
    /// How far its clock is ahead of this machine's, in milliseconds, as far as can be known.
    pub ahead: i64,
}

/// What the configuration takes it for.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// A node of a Cluster.
    pub cluster: bool,
    /// How many replicas must have what is written.
    pub replicas: u32,
}

impl Said<'_> {
    fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.info.lines().filter_map(|line| line.trim_end().split_once(':'));
        fields.find_map(|(field, value)| (field == name).then_some(value))
    }

    fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.field(name)?.parse().ok()
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.field(name) == Some(value)
    }

    /// Says what is good about it, what is not, and what is to be done.
    pub fn judge(&self, wanted: Wanted) -> Vec<Found> {
        let at = Server::Redis(self.node.clone());
        let version = self.field("redis_version").unwrap_or("unknown");
        let policy = self.field("maxmemory_policy").unwrap_or("unknown");
        let kept = if self.is("aof_enabled", "1") { "appendonly" } else { "snapshots" };
        let mut found = vec![at.well(format!(
            "version {version}, keeps its data by {kept}, maxmemory-policy {policy}"
        ))];
        let mut mistake = |what: String, todo: &str| found.push(at.mistake(what, todo));
        if parsed(version).is_some_and(|version| version < OLDEST) {
            mistake(
                format!("version {version} is too old: it lacks commands that the job needs"),
                "install version 6.2 or later",
            );
        }
        if self.is("role", "slave") {
            mistake("it is a replica and takes no writes".into(), "name its master in redis.url");
        }
        match (wanted.cluster, self.is("cluster_enabled", "1")) {
            (false, true) => mistake(
                "it is a node of a Cluster".into(),
                "write redis.url as a list of the urls of its nodes",
            ),
            (true, false) => mistake(
                "it is no node of a Cluster".into(),
                "write redis.url as one url, not as a list",
            ),
            _ => {}
        }
        if policy.starts_with("allkeys-") {
            mistake(
                format!("maxmemory-policy {policy} throws scores and the ledger away"),
                "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf",
            );
        }
        let mut warning = |what: String, todo: &str| found.push(at.warning(what, todo));
        if self.is("aof_enabled", "0") {
            warning(
                "after a crash it goes back to its last snapshot, and the job runs again from there".into(),
                "CONFIG SET appendonly yes, and the same in redis.conf",
            );
        }
        for (field, what) in
            [("aof_last_write_status", "its file"), ("rdb_last_bgsave_status", "a snapshot")]
        {
            if self.is(field, "err") {
                warning(
                    format!("it could not write {what} lately"),
                    "make room on its disk; see its log",
                );
            }
        }
        if self.is("loading", "1") {
            warning("it is loading its data".into(), "wait; the job would wait too");
        }
        if let (Some(used), Some(most @ 1..)) =
            (self.number::<u64>("used_memory"), self.number::<u64>("maxmemory"))
            && used >= most / 100 * FULL
        {
            warning(
                format!(
                    "it uses {used} of {most} bytes of memory, and refuses writes when that is full"
                ),
                "raise maxmemory",
            );
        }
        let replicas = self.number("connected_slaves").unwrap_or(0);
        if replicas < wanted.replicas {
            warning(
                format!(
                    "{replicas} replicas are connected, and redis.replicas is {}: the job would wait",
                    wanted.replicas
                ),
                "connect more, or lower redis.replicas",
            );
        }
        if self.ahead.abs() >= SKEW {
            let side = if self.ahead > 0 { "ahead of" } else { "behind" };
            let by = Seconds(self.ahead.abs());
            warning(
                format!("its clock is {by} s {side} this machine's"),
                "let both follow the same time servers",
            );
        }
        found
    }
}

/// Major and minor version.
fn parsed(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

struct Seconds(i64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1}", self.0 as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: &str = "# Server\r\nredis_version:7.0.15\r\nrole:master\r\nloading:0\r\n\
        aof_enabled:1\r\naof_last_write_status:ok\r\nrdb_last_bgsave_status:ok\r\n\
        used_memory:1000000\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n\
        connected_slaves:1\r\ncluster_enabled:0\r\n";

    /// What is said of a server that is well but for this.
    fn judged(but: &[(&str, &str)], ahead: i64, wanted: Wanted) -> Vec<String> {
        let mut info = WELL.to_owned();
        for (field, value) in but {
            let start = info.find(&format!("{field}:")).unwrap();
            let end = start + info[start..].find('\r').unwrap();
            info.replace_range(start..end, &format!("{field}:{value}"));
        }
        let said = Said { node: "h:1".into(), info: &info, ahead };
        said.judge(wanted).iter().skip(1).map(ToString::to_string).collect()
    }

    const SERVER: Wanted = Wanted { cluster: false, replicas: 0 };

    #[test]
    fn what_is_well_is_said_in_a_line() {
        let said = Said { node: "h:1".into(), info: WELL, ahead: -999 };
        let found = said.judge(Wanted { cluster: false, replicas: 1 });
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].to_string(),
            "redis h:1: version 7.0.15, keeps its data by appendonly, maxmemory-policy noeviction"
        );
    }

    #[test]
    fn each_thing_that_is_not_well_is_said_with_what_to_do() {
        let cluster = Wanted { cluster: true, replicas: 0 };
        let two = Wanted { cluster: false, replicas: 2 };
        for (but, ahead, wanted, expected) in [
            (
                &[("redis_version", "4.0.14")][..],
                0,
                SERVER,
                "mistake: redis h:1: version 4.0.14 is too old",
            ),
            (&[("role", "slave")][..], 0, SERVER, "mistake: redis h:1: it is a replica"),
            (&[("cluster_enabled", "1")][..], 0, SERVER, "a list of the urls"),
            (&[][..], 0, cluster, "not as a list"),
            (
                &[("maxmemory_policy", "allkeys-lru")][..],
                0,
                SERVER,
                "CONFIG SET maxmemory-policy noeviction",
            ),
            (
                &[("aof_enabled", "0")][..],
                0,
                SERVER,
                "warning: redis h:1: after a crash it goes back",
            ),
            (&[("aof_last_write_status", "err")][..], 0, SERVER, "could not write its file"),
            (&[("rdb_last_bgsave_status", "err")][..], 0, SERVER, "could not write a snapshot"),
            (&[("loading", "1")][..], 0, SERVER, "is loading"),
            (&[("maxmemory", "1100000")][..], 0, SERVER, "raise maxmemory"),
            (&[][..], 0, two, "1 replicas are connected, and redis.replicas is 2"),
            (&[][..], 1500, SERVER, "its clock is 1.5 s ahead of this machine's"),
            (&[][..], -61_000, SERVER, "its clock is 61.0 s behind this machine's"),
        ] {
            let found = judged(but, ahead, wanted);
            assert_eq!(found.len(), 1, "{but:?}: {found:?}");
            assert!(found[0].contains(expected), "{found:?}");
        }
    }

    #[test]
    fn what_may_evict_nothing_of_ours_is_well() {
        assert!(judged(&[("maxmemory_policy", "volatile-lru")], 0, SERVER).is_empty());
        assert!(judged(&[("redis_version", "6.2.0")], 0, SERVER).is_empty());
        assert!(judged(&[("maxmemory", "2000000")], 0, SERVER).is_empty());
    }
}
