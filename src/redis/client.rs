//! A client: commands to the server, or each to the node of a Cluster that has its slot.
//!
//! It connects when it is asked, and anew after a failure; it tries nothing a second time but what a
//! node has surely not done: what it sends elsewhere, or a script that it does not know.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use ::redis::cluster_routing::Slot;
use ::redis::{Cmd, FromRedisValue, Value};

use super::command::Command;
use super::connection::{Connection, Login, parse};
use super::error::{Error, Refusal};
use crate::config::{self, Address, Nodes};
use crate::metrics;

/// How often a command may be sent elsewhere before it has to wait.
const REDIRECTIONS: usize = 5;

/// The slots of a Cluster.
const SLOTS: u16 = 16384;

/// The server, or the nodes of a Cluster, as one thread sees them.
pub struct Client {
    login: Login,
    /// The nodes that the configuration names; of a server, it.
    named: Vec<Address>,
    /// Which node has which slot, as far as is known; nothing of a server.
    slots: Option<HashMap<Slot, Address>>,
    connections: HashMap<Address, Connection>,
}

/// A command on its way.
struct Sent {
    /// Which one.
    nth: usize,
    /// Where it was sent by a node that has not its slot, or not yet.
    to: Option<(Address, Asking)>,
    /// Whether its script is told in full.
    in_full: bool,
}

/// Whether a node is told that it was named by the one that hands a slot over to it.
type Asking = bool;

impl Client {
    /// Makes a client; it connects when it is asked for something.
    ///
    /// # Errors
    ///
    /// If a url is none.
    pub fn new(redis: &config::Redis) -> Result<Client, Error> {
        let (urls, slots) = match &redis.nodes {
            Nodes::Server(url) => (std::slice::from_ref(url), None),
            Nodes::Cluster(urls) => (&urls[..], Some(HashMap::new())),
        };
        let mut named = Vec::new();
        let mut login = None;
        for url in urls {
            let (node, its) = parse(url)?;
            named.push(node);
            // Nodes that are found by the way are spoken to like the first.
            login.get_or_insert(its);
        }
        let login = login.expect("a configuration names a node at least");
        Ok(Client { login, named, slots, connections: HashMap::new() })
    }

    /// Whether it speaks to a Cluster, whose nodes may stand at different times.
    pub fn is_cluster(&self) -> bool {
        self.slots.is_some()
    }

    /// Asks for one thing.
    pub fn ask(&mut self, command: &Command) -> Result<Value, Error> {
        self.ask_all(std::slice::from_ref(command))
            .pop()
            .expect("there are as many answers as commands")
    }

    /// Asks for many things at once, in any order: an answer each.
    pub fn ask_all(&mut self, commands: &[Command]) -> Vec<Result<Value, Error>> {
        let mut answers: Vec<_> = commands.iter().map(|_| None).collect();
        let mut open: Vec<_> =
            (0..commands.len()).map(|nth| Sent { nth, to: None, in_full: false }).collect();
        for _ in 0..=REDIRECTIONS {
            if open.is_empty() {
                break;
            }
            open = self.round(commands, open, &mut answers);
        }
        for Sent { nth, .. } in open {
            let key = commands[nth].key().to_owned();
            answers[nth] = Some(Err(Error::Moving { key }));
        }
        answers.into_iter().map(|answer| answer.expect("each command has ended")).collect()
    }

    /// Sends everything to its nodes, then hears all answers; returns what has to be sent elsewhere.
    fn round(
        &mut self,
        commands: &[Command],
        open: Vec<Sent>,
        answers: &mut [Option<Result<Value, Error>>],
    ) -> Vec<Sent> {
        let begun = Instant::now();
        let mut by_node: BTreeMap<Address, Vec<Sent>> = BTreeMap::new();
        for sent in open {
            let node = match &sent.to {
                Some((node, _)) => Ok(node.clone()),
                None => self.node_of(&commands[sent.nth]),
            };
            match node {
                Ok(node) => by_node.entry(node).or_default().push(sent),
                Err(error) => answers[sent.nth] = Some(Err(error)),
            }
        }
        let mut sent_to = Vec::new();
        for (node, all) in by_node {
            match self.send(&node, commands, &all) {
                Ok(()) => sent_to.push((node, all)),
                Err(error) => {
                    self.give_up(&node);
                    for sent in all {
                        answers[sent.nth] = Some(Err(error.clone()));
                    }
                }
            }
        }
        let mut elsewhere = Vec::new();
        for (node, all) in sent_to {
            let (mut broken, mut leaves) = (None, false);
            for sent in all {
                let answer = match &broken {
                    Some(error) => Err(Error::clone(error)),
                    None => self.hear(&node, &commands[sent.nth], &sent),
                };
                if let Err(error @ (Error::Unanswered { .. } | Error::Garbled { .. })) = &answer {
                    broken.get_or_insert_with(|| error.clone());
                }
                // Another may be master now, by another address or behind the same name.
                leaves |= matches!(
                    &answer,
                    Err(Error::Refused {
                        refusal: Refusal::ReadOnly | Refusal::ClusterDown | Refusal::MasterDown,
                        ..
                    })
                );
                let nth = sent.nth;
                match self.judge(&node, &commands[nth], sent, answer) {
                    Ok(sent) => elsewhere.push(sent),
                    Err(answer) => answers[nth] = Some(answer),
                }
            }
            if broken.is_some() || leaves {
                self.give_up(&node);
            }
        }
        metrics::redis(begun.elapsed());
        elsewhere
    }

    fn send(&mut self, node: &Address, commands: &[Command], all: &[Sent]) -> Result<(), Error> {
        let mut packed = Vec::new();
        for sent in all {
            if matches!(sent.to, Some((_, true))) {
                ::redis::cmd("ASKING").write_packed_command(&mut packed);
            }
            commands[sent.nth].pack(sent.in_full, &mut packed);
        }
        self.connection(node)?.send(&packed)
    }

    /// Hears all answers to one command, and gives the one that counts.
    fn hear(&mut self, node: &Address, command: &Command, sent: &Sent) -> Result<Value, Error> {
        let connection = self.connections.get_mut(node).expect("it was sent to just now");
        // Every answer is heard, also behind one that refuses: none may be left for the next command.
        let is_lost = |answer: &Result<Value, Error>| {
            matches!(answer, Err(Error::Unanswered { .. } | Error::Garbled { .. }))
        };
        let asks = matches!(sent.to, Some((_, true)));
        let asked = if asks { connection.receive() } else { Ok(Value::Okay) };
        if is_lost(&asked) {
            return asked;
        }
        let answer = connection.receive();
        if is_lost(&answer) {
            return answer;
        }
        let wanted = command.replicas();
        let waited = if wanted > 0 { connection.receive() } else { Ok(Value::Int(0)) };
        if is_lost(&waited) {
            return waited;
        }
        // A replica refuses to wait for replicas, too: what it says of the command itself comes first.
        asked?;
        let value = answer?;
        match waited? {
            Value::Int(have) if have >= i64::from(wanted) => Ok(value),
            Value::Int(have) => Err(Error::Replicas { node: node.clone(), have, wanted }),
            other => Err(garbled(&other)),
        }
    }

    /// Says whether an answer sends the command elsewhere, or is its end.
    fn judge(
        &mut self,
        node: &Address,
        command: &Command,
        sent: Sent,
        answer: Result<Value, Error>,
    ) -> Result<Sent, Result<Value, Error>> {
        let Err(Error::Refused { refusal, text, .. }) = &answer else {
            return Err(answer);
        };
        match (refusal, &mut self.slots) {
            (Refusal::NoScript, _) if command.is_script() && !sent.in_full => {
                Ok(Sent { in_full: true, ..sent })
            }
            (Refusal::Moved | Refusal::Ask, None) => {
                Err(Err(Error::IsCluster { node: node.clone() }))
            }
            (Refusal::Moved | Refusal::Ask, Some(slots)) => {
                let Some(to) = redirection(node, text) else { return Err(answer) };
                let asking = *refusal == Refusal::Ask;
                // What is not known at all is asked for as a whole.
                if !asking && !slots.is_empty() {
                    slots.insert(command.slot(), to.clone());
                }
                Ok(Sent { to: Some((to, asking)), ..sent })
            }
            _ => Err(answer),
        }
    }

    fn connection(&mut self, node: &Address) -> Result<&mut Connection, Error> {
        if !self.connections.contains_key(node) {
            let connection = Connection::open(node, &self.login)?;
            self.connections.insert(node.clone(), connection);
        }
        Ok(self.connections.get_mut(node).expect("it was just connected"))
    }

    /// Connects to this node anew the next time, and asks again who has which slot.
    fn give_up(&mut self, node: &Address) {
        self.connections.remove(node);
        if let Some(slots) = &mut self.slots {
            slots.clear();
        }
    }

    fn node_of(&mut self, command: &Command) -> Result<Address, Error> {
        let Some(slots) = &self.slots else { return Ok(self.named[0].clone()) };
        if slots.is_empty() {
            self.learn_slots()?;
        }
        let slots = self.slots.as_mut().expect("it is a Cluster");
        match slots.get(&command.slot()) {
            Some(node) => Ok(node.clone()),
            None => {
                slots.clear();
                Err(Error::Unserved { key: command.key().to_owned() })
            }
        }
    }

    /// Asks the first node that answers who has which slot.
    fn learn_slots(&mut self) -> Result<(), Error> {
        let mut command = ::redis::cmd("CLUSTER");
        command.arg("SLOTS");
        let known: Vec<_> = self.connections.keys().chain(&self.named).cloned().collect();
        let mut failed = None;
        for node in known {
            match self.ask_node(&node, &command) {
                Ok(answer) => {
                    let slots = slots(&node, answer)?;
                    // One that has left the Cluster knows of none; others are asked.
                    let has_left = slots.is_empty();
                    self.slots = Some(slots);
                    if !has_left {
                        return Ok(());
                    }
                }
                Err(Error::Refused { refusal: Refusal::NoCluster, node, .. }) => {
                    return Err(Error::NoCluster { node });
                }
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The server, or every master of the Cluster as it is now.
    pub(super) fn masters(&mut self) -> Result<Vec<Address>, Error> {
        if self.slots.is_none() {
            return Ok(self.named.clone());
        }
        self.learn_slots()?;
        let masters: BTreeSet<_> = self.slots.iter().flat_map(|slots| slots.values()).collect();
        Ok(masters.into_iter().cloned().collect())
    }

    /// Asks one node for something that belongs to no slot.
    pub(super) fn ask_node(&mut self, node: &Address, command: &Cmd) -> Result<Value, Error> {
        let answer = self.connection(node).and_then(|connection| connection.ask(command));
        if let Err(Error::Unanswered { .. } | Error::Garbled { .. }) = &answer {
            self.connections.remove(node);
        }
        answer
    }
}

/// Reads an answer as what it must be.
pub(super) fn read<T: FromRedisValue>(answer: Value) -> Result<T, Error> {
    ::redis::from_redis_value(answer).map_err(|error| Error::Garbled { what: error.to_string() })
}

fn garbled(answer: &Value) -> Error {
    Error::Garbled { what: format!("{answer:?}") }
}

/// Where `MOVED 3999 127.0.0.1:6381` points; without a host, to another port of the same.
fn redirection(node: &Address, text: &str) -> Option<Address> {
    let (host, port) = text.split(' ').nth(2)?.rsplit_once(':')?;
    let host = if host.is_empty() { node.host.as_str() } else { host };
    Some(Address { host: host.to_owned(), port: port.parse().ok()? })
}

/// Reads the answer to CLUSTER SLOTS: of each run of slots the first and last one, and the nodes, of
/// which the first is the master.
fn slots(asked: &Address, answer: Value) -> Result<HashMap<Slot, Address>, Error> {
    let mut slots = HashMap::with_capacity(SLOTS.into());
    let Value::Array(runs) = answer else { return Err(garbled(&answer)) };
    for run in runs {
        let Value::Array(parts) = &run else { return Err(garbled(&run)) };
        let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &parts[..] else {
            return Err(garbled(&run));
        };
        let [host, Value::Int(port), ..] = &master[..] else { return Err(garbled(&run)) };
        let host = match host {
            Value::BulkString(host) if host == b"?" => continue,
            Value::BulkString(host) if !host.is_empty() => {
                String::from_utf8_lossy(host).into_owned()
            }
            _ => asked.host.clone(),
        };
        let port = u16::try_from(*port).map_err(|_| garbled(&run))?;
        let number = |slot: &i64| u16::try_from(*slot).map_err(|_| garbled(&run));
        for slot in (number(first)?..=number(last)?).filter_map(Slot::new) {
            slots.insert(slot, Address { host: host.clone(), port });
        }
    }
    Ok(slots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> Address {
        Address { host: "10.0.0.1".to_owned(), port }
    }

    #[test]
    fn a_redirection_names_a_node_or_another_port_of_the_same() {
        let node = address(1);
        let to = |text| redirection(&node, text);
        assert_eq!(to("MOVED 3999 10.0.0.1:7"), Some(address(7)));
        assert_eq!(to("ASK 3999 :7"), Some(address(7)));
        let v6 = Address { host: "::1".to_owned(), port: 7 };
        assert_eq!(to("MOVED 3999 ::1:7"), Some(v6));
        assert_eq!(to("MOVED 3999"), None);
    }

    #[test]
    fn slots_belong_to_the_master_of_their_run() {
        let node = |host: &str, port| {
            Value::Array(vec![Value::BulkString(host.as_bytes().to_vec()), Value::Int(port)])
        };
        let run = |first, last, master, replica| {
            Value::Array(vec![Value::Int(first), Value::Int(last), master, replica])
        };
        let answer = Value::Array(vec![
            run(0, 1, node("10.0.0.1", 7), node("10.0.0.2", 8)),
            run(2, 3, node("", 9), node("10.0.0.2", 8)),
            run(4, 4, node("?", 9), node("10.0.0.2", 8)),
        ]);
        let found = slots(&address(1), answer).unwrap();
        let of = |slot| found.get(&Slot::new(slot).unwrap()).cloned();
        assert_eq!(
            [0, 1, 2, 3, 4].map(of),
            [7, 7, 9, 9, 0].map(|port| match port {
                0 => None,
                port => Some(address(port)),
            })
        );
        assert!(slots(&address(1), Value::Okay).is_err());
    }
}
