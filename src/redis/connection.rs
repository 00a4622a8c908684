//! One connection to one node, with time-outs of its own.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use ::redis::{Cmd, ConnectionAddr, IntoConnectionInfo, Parser, Value};
use native_tls::{HandshakeError, TlsConnector, TlsStream};

use super::error::{Error, Refusal};
use crate::config::{Address, Text};

/// How long a connection may take to come about, an address.
const CONNECT: Duration = Duration::from_secs(3);

/// How long a node may be silent, or take nothing.
const SILENCE: Duration = Duration::from_secs(5);

/// What a node is told first, and how it is spoken to.
#[derive(Clone)]
pub(super) struct Login {
    user: Option<String>,
    password: Option<String>,
    database: i64,
    /// Where TLS is spoken; it checks certificates unless the url says `#insecure`.
    tls: Option<TlsConnector>,
}

/// Reads a url as Redis's clients do.
pub(super) fn parse(url: &Text) -> Result<(Address, Login), Error> {
    let wrong = |reason: String| Error::Url { shown: url.shown().to_owned(), reason };
    let parsed = url.as_str().into_connection_info().map_err(|error| wrong(error.to_string()))?;
    let (host, port, insecure) = match parsed.addr() {
        ConnectionAddr::Tcp(host, port) => (host, *port, None),
        ConnectionAddr::TcpTls { host, port, insecure, .. } => (host, *port, Some(*insecure)),
        _ => return Err(wrong("it is not redis:// or rediss://".to_owned())),
    };
    let connector = |insecure: bool| {
        let mut tls = TlsConnector::builder();
        tls.danger_accept_invalid_certs(insecure).danger_accept_invalid_hostnames(insecure);
        tls.build().map_err(|error| wrong(error.to_string()))
    };
    let settings = parsed.redis_settings();
    let login = Login {
        user: settings.username().map(str::to_owned),
        password: settings.password().map(str::to_owned),
        database: settings.db(),
        tls: insecure.map(connector).transpose()?,
    };
    Ok((Address { host: host.clone(), port }, login))
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

/// A connection to a node. After an error of [`Connection::send`] or [`Connection::receive`] it is of
/// no more use: an answer that comes late would be taken for that of the next command.
pub(super) struct Connection {
    node: Address,
    stream: Stream,
    parser: Parser,
}

impl Connection {
    /// Connects, and logs in.
    pub(super) fn open(node: &Address, login: &Login) -> Result<Connection, Error> {
        let unconnected =
            |error: io::Error| Error::Connect { node: node.clone(), source: Arc::new(error) };
        let tcp = connect(node).map_err(unconnected)?;
        let stream = match &login.tls {
            None => Stream::Plain(tcp),
            Some(tls) => match tls.connect(&node.host, tcp) {
                Ok(stream) => Stream::Tls(Box::new(stream)),
                Err(HandshakeError::WouldBlock(_)) => {
                    return Err(unconnected(io::ErrorKind::TimedOut.into()));
                }
                Err(HandshakeError::Failure(error)) => {
                    return Err(Error::of_handshake(node, error));
                }
            },
        };
        let mut connection = Connection { node: node.clone(), stream, parser: Parser::new() };
        match connection.log_in(login) {
            Ok(()) => Ok(connection),
            // Nothing of what the connection is for was sent.
            Err(Error::Unanswered { node, source }) => Err(Error::Connect { node, source }),
            Err(error) => Err(error),
        }
    }

    fn log_in(&mut self, login: &Login) -> Result<(), Error> {
        let mut greeting = Vec::new();
        if let Some(password) = &login.password {
            let mut auth = ::redis::cmd("AUTH");
            auth.arg(login.user.as_deref()).arg(password);
            greeting.push(auth);
        }
        if login.database != 0 {
            let mut select = ::redis::cmd("SELECT");
            select.arg(login.database);
            greeting.push(select);
        }
        for command in greeting {
            self.ask(&command)?;
        }
        Ok(())
    }

    /// Sends a command and waits for its answer.
    pub(super) fn ask(&mut self, command: &Cmd) -> Result<Value, Error> {
        self.send(&command.get_packed_command())?;
        self.receive()
    }

    /// Sends commands, packed.
    pub(super) fn send(&mut self, commands: &[u8]) -> Result<(), Error> {
        let sent = self.stream.write_all(commands).and_then(|()| self.stream.flush());
        sent.map_err(|error| Error::Unanswered { node: self.node.clone(), source: Arc::new(error) })
    }

    /// Waits for the next answer.
    pub(super) fn receive(&mut self) -> Result<Value, Error> {
        let node = || self.node.clone();
        match self.parser.parse_value(&mut self.stream) {
            Ok(Value::ServerError(error)) => {
                let detail = error.details().unwrap_or_default();
                let refusal = Refusal::of(error.code(), detail);
                let text = format!("{} {detail}", error.code());
                Err(Error::Refused { node: node(), refusal, text })
            }
            Ok(value) => Ok(value),
            Err(error) if error.is_io_error() => {
                let source = Arc::new(io::Error::other(error));
                Err(Error::Unanswered { node: node(), source })
            }
            Err(error) => Err(Error::Garbled { what: error.to_string() }),
        }
    }
}

/// Tries all addresses of the name.
fn connect(node: &Address) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (node.host.as_str(), node.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(SILENCE))?;
                stream.set_write_timeout(Some(SILENCE))?;
                return Ok(stream);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::retry::{Fault, Faulty};

    #[test]
    fn a_connection_that_ends_in_the_handshake_is_an_outage_and_what_speaks_no_tls_is_not() {
        for (answer, fault) in [(&b""[..], Fault::Retry), (b"-ERR no such thing\r\n", Fault::Fatal)]
        {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("rediss://{}", listener.local_addr().unwrap());
            let (node, login) = parse(&Text::from(url)).unwrap();
            let answers = std::thread::spawn(move || {
                let (mut connection, _) = listener.accept().unwrap();
                assert!(connection.read(&mut [0; 4096]).unwrap() > 0, "it says hello");
                connection.write_all(answer).unwrap();
            });
            let Err(error) = Connection::open(&node, &login) else { panic!("nobody is there") };
            answers.join().unwrap();
            assert_eq!(error.fault(), fault, "{error:?}");
        }
    }
}
