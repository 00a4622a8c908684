//! Commands: what is asked of Redis, of which slot, and again in full where a script is not known.

use std::sync::LazyLock;

use ::redis::cluster_routing::Slot;
use ::redis::{Arg, Cmd, ToRedisArgs};

/// A Lua script. Redis knows it by its hash until it forgets it; then it is told in full.
pub(super) struct Script {
    text: &'static str,
    hash: LazyLock<String>,
}

impl Script {
    /// Takes a script of ours.
    pub(super) const fn new(text: &'static str, hash: fn() -> String) -> Script {
        Script { text, hash: LazyLock::new(hash) }
    }
}

/// The script in a file beside this one.
macro_rules! script {
    ($file:literal) => {
        $crate::redis::command::Script::new(include_str!($file), || {
            ::redis::Script::new(include_str!($file)).get_hash().to_owned()
        })
    };
}
pub(super) use script;

/// What one node is asked, and the key whose slot says which.
pub struct Command {
    /// A key of the slot.
    key: String,
    slot: Slot,
    cmd: Cmd,
    script: Option<&'static Script>,
    /// How many replicas must have what it writes.
    replicas: u32,
}

impl Command {
    /// Asks for `name` of a key; more arguments may follow.
    pub(super) fn new(name: &str, key: &str) -> Command {
        let mut cmd = ::redis::cmd(name);
        cmd.arg(key);
        Command { key: key.to_owned(), slot: Slot::for_key(key), cmd, script: None, replicas: 0 }
    }

    /// Runs a script on keys of one slot; arguments may follow.
    pub(super) fn run(script: &'static Script, keys: &[&str]) -> Command {
        let mut cmd = ::redis::cmd("EVALSHA");
        cmd.arg(script.hash.as_str()).arg(keys.len()).arg(keys);
        let key = keys[0].to_owned();
        let slot = Slot::for_key(&key);
        Command { key, slot, cmd, script: Some(script), replicas: 0 }
    }

    /// Adds an argument, or several.
    pub(super) fn arg(&mut self, arg: impl ToRedisArgs) -> &mut Command {
        self.cmd.arg(arg);
        self
    }

    /// Counts as done only when so many replicas have it.
    pub(super) fn wait_for(&mut self, replicas: u32) {
        self.replicas = replicas;
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn slot(&self) -> Slot {
        self.slot
    }

    pub(super) fn replicas(&self) -> u32 {
        self.replicas
    }

    pub(super) fn is_script(&self) -> bool {
        self.script.is_some()
    }

    /// Writes it as Redis reads it; a script by its hash, or in full.
    pub(super) fn pack(&self, in_full: bool, packed: &mut Vec<u8>) {
        match self.script {
            Some(script) if in_full => {
                let mut cmd = ::redis::cmd("EVAL");
                cmd.arg(script.text);
                for arg in self.cmd.args_iter().skip(2) {
                    if let Arg::Simple(arg) = arg {
                        cmd.arg(arg);
                    }
                }
                cmd.write_packed_command(packed);
            }
            _ => self.cmd.write_packed_command(packed),
        }
        if self.replicas > 0 {
            let mut wait = ::redis::cmd("WAIT");
            wait.arg(self.replicas).arg(WAIT.as_millis() as u64);
            wait.write_packed_command(packed);
        }
    }
}

/// How long Redis waits for replicas, a try.
const WAIT: std::time::Duration = std::time::Duration::from_secs(1);
