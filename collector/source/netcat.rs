//! Lines that peers send over TCP, each an event, each answered.
//!
//! Lines that arrive together are put together, and answered when the channels have them: `OK` each, or
//! `FAILED` with the reason. A line that is too long ends its connection, as in Flume. A last line that the
//! peer does not end before it closes is an event, too; Flume drops it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::{Failure, Inlet};
use crate::channel::Refused;
use crate::charset::{Charset, Faults};
use crate::counters::Source as Count;
use crate::event::Event;
use crate::keys::Keys;
use crate::stop::{Stop, chain};

/// How often it is looked whether it is stopped.
const POLL: Duration = Duration::from_millis(200);

/// How long a peer may not take its answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many connections there are at once, at most.
const MOST_PEERS: usize = 1000;

/// How many lines are put at once, at most, where the channel takes so many.
const AT_ONCE: usize = 100;

/// Listens, and makes an event of each line.
#[derive(Debug)]
pub struct Netcat {
    bind: String,
    port: u16,
    /// In units of UTF-16, with its end.
    longest: usize,
    answers: bool,
    charset: Charset,
}

/// Why nobody can be listened to.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {bind}:{port}")]
struct Unheard {
    bind: String,
    port: u16,
    source: io::Error,
}

impl Netcat {
    /// Reads its keys.
    pub fn read(keys: &Keys<'_>) -> Netcat {
        Netcat {
            bind: keys.required("bind"),
            port: keys.port("port"),
            longest: keys.count("max-line-length", 512),
            answers: keys.flag("ack-every-event", true),
            charset: Charset::read(keys, "encoding"),
        }
    }

    fn listen(&self) -> io::Result<TcpListener> {
        let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in (&*self.bind, self.port).to_socket_addrs()? {
            match TcpListener::bind(address) {
                Ok(listener) => {
                    set_socket_timeout(&listener, Timeout::Recv, Some(POLL))?;
                    log::info!("listens: address={}", listener.local_addr()?);
                    return Ok(listener);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Takes what peers say, until it is stopped.
    fn serve(&self, listener: &TcpListener, inlet: &Inlet, stop: &Stop) -> io::Result<()> {
        // One channel may take less at once than another: then less is put.
        let at_once = &AtomicUsize::new(AT_ONCE);
        let peers = &AtomicUsize::new(0);
        std::thread::scope(|threads| {
            while !stop.is_stopped() {
                let stream = match listener.accept() {
                    Ok((stream, _)) => stream,
                    Err(error) if is_nothing(&error) => continue,
                    // What a peer does wrong, or that there are too many for the system, passes.
                    Err(error) => {
                        log::warn!("source {}: cannot take a peer: error={error}", inlet.name());
                        stop.wait(POLL);
                        continue;
                    }
                };
                if peers.load(Ordering::Relaxed) >= MOST_PEERS {
                    log::warn!("source {}: there are {MOST_PEERS} peers already", inlet.name());
                    continue;
                }
                peers.fetch_add(1, Ordering::Relaxed);
                inlet.counters().add(Count::OpenConnectionCount, 1);
                let name = format!("{}-peer", inlet.name());
                let hear = move || {
                    let mut peer = Peer { netcat: self, stream, at_once };
                    if let Err(error) = peer.hear(inlet, stop) {
                        log::debug!("a peer is gone: error={error}");
                    }
                    inlet.counters().remove(Count::OpenConnectionCount, 1);
                    peers.fetch_sub(1, Ordering::Relaxed);
                };
                std::thread::Builder::new().name(name).spawn_scoped(threads, hear)?;
            }
            Ok(())
        })
    }
}

impl super::Source for Netcat {
    fn batch(&self) -> usize {
        0
    }

    fn run(&mut self, inlet: &Inlet, stop: &Stop) -> Result<(), Failure> {
        let unheard = |source| Unheard { bind: self.bind.clone(), port: self.port, source };
        let listener = self.listen().map_err(unheard)?;
        Ok(self.serve(&listener, inlet, stop)?)
    }

    fn loses(&self) -> Option<&'static str> {
        Some("what peers have sent, and were not answered, is lost")
    }
}

/// Whether a wait has only taken too long.
fn is_nothing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// How long a text is to Java.
fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// One connection.
struct Peer<'s> {
    netcat: &'s Netcat,
    stream: TcpStream,
    at_once: &'s AtomicUsize,
}

impl Peer<'_> {
    /// Takes lines until the peer closes, or one is too long.
    fn hear(&mut self, inlet: &Inlet, stop: &Stop) -> io::Result<()> {
        self.stream.set_read_timeout(Some(POLL))?;
        self.stream.set_write_timeout(Some(PATIENCE))?;
        self.stream.set_nodelay(true)?;
        let mut heard: Vec<u8> = Vec::new();
        let mut block = vec![0; 16 << 10];
        while !stop.is_stopped() {
            let read = match self.stream.read(&mut block) {
                Ok(read) => read,
                Err(error) if is_nothing(&error) => continue,
                Err(error) => return Err(error),
            };
            heard.extend_from_slice(&block[..read]);
            let end = self.lines_end(&heard);
            let mut lines = self.lines(&heard[..end]);
            let too_long = lines.iter().position(|line| units(line) >= self.netcat.longest);
            let rest = &heard[end..];
            // Four bytes are a unit at least; so many that are no line yet are none.
            let endless = rest.len() >= self.netcat.longest
                && (units(&self.text(rest)) >= self.netcat.longest
                    || rest.len() / 4 >= self.netcat.longest);
            if read == 0 && too_long.is_none() && !endless && !rest.is_empty() {
                lines.push(self.text(rest));
            }
            lines.truncate(too_long.unwrap_or(lines.len()));
            self.put(lines, inlet)?;
            if too_long.is_some() || endless {
                inlet.counters().add(Count::EventReadFail, 1);
                log::warn!("source {}: a peer has sent a line that is too long", inlet.name());
                let longest = self.netcat.longest;
                self.answer(&format!(
                    "FAILED: Event exceeds the maximum length ({longest} chars, including newline)\n"
                ))?;
                return self.stream.shutdown(Shutdown::Both);
            }
            if read == 0 {
                return Ok(());
            }
            heard.drain(..end);
        }
        Ok(())
    }

    /// Where the last line ends.
    fn lines_end(&self, heard: &[u8]) -> usize {
        if self.netcat.charset.has_lines_of_bytes() {
            return memchr::memrchr(b'\n', heard).map_or(0, |at| at + 1);
        }
        // Of two bytes a letter: whole lines are what decodes to them.
        let whole = heard.len() / 2 * 2;
        let units = (0..whole / 2).rev().map(|unit| unit * 2);
        let is_end = |at: &usize| matches!(heard[*at..*at + 2], [0, b'\n'] | [b'\n', 0]);
        units.into_iter().find(is_end).map_or(0, |at| at + 2)
    }

    fn text(&self, bytes: &[u8]) -> String {
        let text = self.netcat.charset.decode(bytes, Faults::Replace);
        text.expect("nothing fails where it is replaced").into_owned()
    }

    fn lines(&self, bytes: &[u8]) -> Vec<String> {
        let text = self.text(bytes);
        text.split_terminator('\n').map(str::to_owned).collect()
    }

    /// Puts lines, and answers for each.
    fn put(&mut self, lines: Vec<String>, inlet: &Inlet) -> io::Result<()> {
        let mut rest = &lines[..];
        while !rest.is_empty() {
            let many = rest.len().min(self.at_once.load(Ordering::Relaxed));
            let events = rest[..many].iter().map(|line| Event::new(line.clone())).collect();
            let answer = match inlet.accept(events) {
                Ok(()) => "OK\n".to_owned(),
                Err(Refused::TooMany { most, .. }) if most >= 1 && most < many => {
                    self.at_once.fetch_min(most, Ordering::Relaxed);
                    continue;
                }
                Err(refused) => {
                    let why = chain(&refused);
                    log::warn!("source {}: error={why}", inlet.name());
                    format!("FAILED: {why}\n")
                }
            };
            if self.netcat.answers || answer.starts_with("FAILED") {
                self.answer(&answer.repeat(many))?;
            }
            rest = &rest[many..];
        }
        Ok(())
    }

    fn answer(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(&self.netcat.charset.encode(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::trial::{Trial, bodies, read};

    /// Says bytes to a source on a channel of this capacity, and closes; returns what it answers, and what it
    /// has put.
    fn say(given: &[(&str, &str)], capacity: usize, pieces: &[&[u8]]) -> (String, Vec<String>) {
        let mut all = vec![("bind", "127.0.0.1"), ("port", "0")];
        all.extend_from_slice(given);
        let (netcat, found) = read(&all, Netcat::read);
        assert!(found.is_empty(), "{found:?}");
        let trial = Trial::new(capacity);
        let listener = netcat.listen().unwrap();
        let address = listener.local_addr().unwrap();
        let answer = std::thread::scope(|threads| {
            threads.spawn(|| netcat.serve(&listener, &trial.inlet, &trial.stop).unwrap());
            let mut peer = TcpStream::connect(address).unwrap();
            for piece in pieces {
                peer.write_all(piece).unwrap();
            }
            peer.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            // It may close before it has read all.
            let read = peer.read_to_string(&mut answer);
            assert!(read.is_ok() || answer.contains("FAILED"));
            trial.stop.stop();
            answer
        });
        assert_eq!(trial.inlet.counters().get(Count::OpenConnectionCount), 0);
        (answer, bodies(&trial.take(Duration::ZERO)))
    }

    #[test]
    fn each_line_is_an_event_and_answered() {
        let (answer, put) = say(&[], 100, &[b"a\n", b"b\r\nc", b"d\n\xc3", b"\xbc"]);
        assert_eq!(
            (&*answer, put),
            ("OK\nOK\nOK\nOK\n", ["a", "b\r", "cd", "ü"].map(str::to_owned).into())
        );
        let (answer, put) = say(&[("ack-every-event", "false")], 100, &[b"a\nb\n"]);
        assert_eq!((&*answer, put.len()), ("", 2));
        let (_, put) = say(&[("encoding", "ISO-8859-1")], 100, &[b"\xfc\n"]);
        assert_eq!(put, ["ü"]);
    }

    #[test]
    fn a_line_that_is_too_long_ends_the_connection() {
        // Two letters, and four units of UTF-16, still fit.
        let fits = "\u{1d11e}\u{1d11e}\n".as_bytes();
        assert_eq!(say(&[("max-line-length", "5")], 100, &[fits]).1, ["\u{1d11e}\u{1d11e}"]);
        let pairs = "\u{1d11e}\u{1d11e}\u{1d11e}\n".as_bytes();
        for line in [&b"abcde\nx\n"[..], b"abcdefgh", pairs] {
            let (answer, put) = say(&[("max-line-length", "5")], 100, &[b"abcd\n", line]);
            assert!(answer.ends_with("(5 chars, including newline)\n"), "{answer}");
            assert_eq!(put, ["abcd"]);
        }
    }

    #[test]
    fn a_full_channel_is_told_and_one_that_takes_few_at_once_gets_few() {
        let (answer, put) = say(&[], 3, &[b"1\n2\n3\n4\n5\n6\n"]);
        assert_eq!(put, ["1", "2", "3"]);
        assert_eq!(answer.matches("OK\n").count(), 3);
        assert_eq!(answer.matches("FAILED: channel c1 is full").count(), 3);
    }
}
