//! Bytes to and from a Thrift server: a socket with a deadline, whole requests, bounded replies.
//!
//! The binary protocol is the `thrift` crate's where it is written. Where it is read it is this file's,
//! since that crate allocates whatever length stands on the wire, and panics on a negative one.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use native_tls::{HandshakeError, TlsConnector, TlsStream};
use thrift::protocol::{
    TFieldIdentifier, TInputProtocol, TListIdentifier, TMapIdentifier, TMessageIdentifier,
    TMessageType, TSetIdentifier, TStructIdentifier, TType,
};
use thrift::{ProtocolError, ProtocolErrorKind};

use super::Error;
use crate::config::Address;
use crate::retry::Stop;

/// How long a server may take to accept a connection, and to shake hands over TLS.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a call waits before it looks whether the job ends.
const GLANCE: Duration = Duration::from_millis(200);

/// The longest byte string of a reply: HBase's own limit for a cell is 10 MiB.
const LONGEST: usize = 64 << 20;

/// The most items of a list or map in a reply: room for them is made before they come.
const MOST: i32 = 1 << 20;

/// How much is read at once.
const BUFFER: usize = 64 << 10;

/// A connection's two ends, of which a call uses first the one, then the other.
pub(super) type Ends = (Arc<Mutex<Wire>>, Requests, Replies);

/// A socket, and until when what is under way on it may last.
pub(super) struct Wire {
    stream: Stream,
    deadline: Instant,
    /// Breaks it off.
    stop: Stop,
    /// Whether the request is out: the server may do what it says.
    sent: bool,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects to a server.
pub(super) fn connect(server: &Address, tls: Option<&TlsConnector>) -> Result<Ends, Error> {
    let failed = |source| Error::Connect { server: server.clone(), source };
    let socket = connect_to_any(server).map_err(failed)?;
    let stream = match tls {
        None => Stream::Plain(socket),
        Some(tls) => {
            let patience = Some(CONNECT);
            socket.set_read_timeout(patience).map_err(failed)?;
            socket.set_write_timeout(patience).map_err(failed)?;
            match tls.connect(&server.host, socket) {
                Ok(stream) => Stream::Tls(Box::new(stream)),
                Err(HandshakeError::WouldBlock(_)) => return Err(failed(late())),
                Err(HandshakeError::Failure(source)) => {
                    return Err(Error::Tls { server: server.clone(), source });
                }
            }
        }
    };
    let wire = Wire { stream, deadline: Instant::now(), stop: Stop::default(), sent: false };
    let wire = Arc::new(Mutex::new(wire));
    let requests = Requests { wire: Arc::clone(&wire), buffer: Vec::new() };
    let replies =
        Replies { wire: Arc::clone(&wire), buffer: vec![0; BUFFER].into(), start: 0, end: 0 };
    Ok((wire, requests, replies))
}

fn connect_to_any(server: &Address) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (&*server.host, server.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(socket) => {
                // A request is written as a whole; to wait for more would only delay it.
                socket.set_nodelay(true)?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

pub(super) fn lock(wire: &Mutex<Wire>) -> MutexGuard<'_, Wire> {
    // A connection on which a thread has panicked is never used again.
    wire.lock().unwrap_or_else(PoisonError::into_inner)
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

impl Wire {
    /// Begins a call that may last so long, unless the job ends.
    pub(super) fn begin(&mut self, patience: Duration, stop: Stop) {
        self.deadline = Instant::now() + patience;
        self.stop = stop;
        self.sent = false;
    }

    /// Whether the request of the last call went out: the server may have done what it says.
    pub(super) fn is_sent(&self) -> bool {
        self.sent
    }

    /// Whether the server has closed the connection, as it does when that has been idle for long.
    pub(super) fn is_closed(&self) -> bool {
        let (socket, plain) = match &self.stream {
            Stream::Plain(socket) => (socket, true),
            Stream::Tls(stream) => (stream.get_ref(), false),
        };
        let peeked = socket
            .set_nonblocking(true)
            .and_then(|()| {
                let peeked = socket.peek(&mut [0]);
                socket.set_nonblocking(false).and(peeked)
            })
            .map_err(|error| error.kind());
        match peeked {
            Err(io::ErrorKind::WouldBlock) => false,
            // Over TLS there may be something that is no reply, such as a ticket.
            Ok(1..) => plain,
            Ok(0) | Err(_) => true,
        }
    }

    fn socket(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => stream.get_ref(),
        }
    }

    /// How long the socket may wait now.
    fn wait(&self) -> io::Result<Option<Duration>> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(late()),
            _ if self.stop.is_stopped() => Err(io::Error::other("the job is stopping")),
            left => Ok(Some(left.min(GLANCE))),
        }
    }

    fn send(&mut self, mut request: &[u8]) -> io::Result<()> {
        while !request.is_empty() {
            self.socket().set_write_timeout(self.wait()?)?;
            let written = match &mut self.stream {
                Stream::Plain(socket) => socket.write(request),
                Stream::Tls(stream) => stream.write(request),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => request = &request[written..],
                Err(error) => passing(error)?,
            }
        }
        self.sent = true;
        match &mut self.stream {
            Stream::Plain(_) => Ok(()),
            Stream::Tls(stream) => stream.flush(),
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.socket().set_read_timeout(self.wait()?)?;
            let read = match &mut self.stream {
                Stream::Plain(socket) => socket.read(buffer),
                Stream::Tls(stream) => stream.read(buffer),
            };
            match read {
                Ok(0) => {
                    let closed = "the server closed the connection";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, closed));
                }
                Ok(read) => return Ok(read),
                Err(error) => passing(error)?,
            }
        }
    }
}

/// Passes over an interruption, and over a wait that is over, which sockets call by two names.
fn passing(error: io::Error) -> io::Result<()> {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    match error.kind() {
        Interrupted | WouldBlock | TimedOut => Ok(()),
        _ => Err(error),
    }
}

/// Requests, each sent as a whole: a server never does a part of one.
pub(super) struct Requests {
    wire: Arc<Mutex<Wire>>,
    buffer: Vec<u8>,
}

impl Write for Requests {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let sent = lock(&self.wire).send(&self.buffer);
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER);
        sent
    }
}

/// Replies in the binary protocol. A length that cannot be is an error, before room is made for it.
pub(super) struct Replies {
    wire: Arc<Mutex<Wire>>,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Replies {
    fn fill(&mut self) -> io::Result<()> {
        self.end = lock(&self.wire).receive(&mut self.buffer)?;
        self.start = 0;
        Ok(())
    }

    #[inline]
    fn take<const N: usize>(&mut self) -> thrift::Result<[u8; N]> {
        if let Some(taken) = self.buffer[self.start..self.end].first_chunk() {
            self.start += N;
            return Ok(*taken);
        }
        let mut taken = [0; N];
        for byte in &mut taken {
            if self.start == self.end {
                self.fill()?;
            }
            *byte = self.buffer[self.start];
            self.start += 1;
        }
        Ok(taken)
    }

    fn take_bytes(&mut self) -> thrift::Result<Vec<u8>> {
        let length = self.read_i32()?;
        let length = usize::try_from(length).ok().filter(|length| *length <= LONGEST);
        let Some(mut missing) = length else {
            return Err(absurd(ProtocolErrorKind::SizeLimit, "a reply holds an absurd length"));
        };
        // What is promised gets room only as it comes.
        let mut bytes = Vec::with_capacity(missing.min(BUFFER));
        while missing > 0 {
            if self.start == self.end {
                self.fill()?;
            }
            let here = missing.min(self.end - self.start);
            bytes.extend_from_slice(&self.buffer[self.start..self.start + here]);
            self.start += here;
            missing -= here;
        }
        Ok(bytes)
    }

    fn size(&mut self) -> thrift::Result<i32> {
        let size = self.read_i32()?;
        match (0..=MOST).contains(&size) {
            true => Ok(size),
            false => Err(absurd(ProtocolErrorKind::SizeLimit, "a reply holds an absurd size")),
        }
    }

    fn kind(&mut self) -> thrift::Result<TType> {
        Ok(match self.read_byte()? {
            0x00 => TType::Stop,
            0x01 => TType::Void,
            0x02 => TType::Bool,
            0x03 => TType::I08,
            0x04 => TType::Double,
            0x06 => TType::I16,
            0x08 => TType::I32,
            0x0a => TType::I64,
            0x0b => TType::String,
            0x0c => TType::Struct,
            0x0d => TType::Map,
            0x0e => TType::Set,
            0x0f => TType::List,
            _ => return Err(absurd(ProtocolErrorKind::InvalidData, "a reply holds no such type")),
        })
    }
}

fn absurd(kind: ProtocolErrorKind, message: &str) -> thrift::Error {
    thrift::Error::Protocol(ProtocolError { kind, message: message.to_owned() })
}

impl TInputProtocol for Replies {
    fn read_message_begin(&mut self) -> thrift::Result<TMessageIdentifier> {
        let [0x80, 0x01, _, kind] = self.take()? else {
            let other = "the reply is not in the binary protocol, or its transport is framed";
            return Err(absurd(ProtocolErrorKind::BadVersion, other));
        };
        let kind = TMessageType::try_from(kind)?;
        let name = self.read_string()?;
        Ok(TMessageIdentifier::new(name, kind, self.read_i32()?))
    }

    fn read_message_end(&mut self) -> thrift::Result<()> {
        Ok(())
    }

    fn read_struct_begin(&mut self) -> thrift::Result<Option<TStructIdentifier>> {
        Ok(None)
    }

    fn read_struct_end(&mut self) -> thrift::Result<()> {
        Ok(())
    }

    fn read_field_begin(&mut self) -> thrift::Result<TFieldIdentifier> {
        let kind = self.kind()?;
        let id = if kind == TType::Stop { 0 } else { self.read_i16()? };
        Ok(TFieldIdentifier { name: None, field_type: kind, id: Some(id) })
    }

    fn read_field_end(&mut self) -> thrift::Result<()> {
        Ok(())
    }

    fn read_bool(&mut self) -> thrift::Result<bool> {
        Ok(self.read_byte()? != 0)
    }

    fn read_bytes(&mut self) -> thrift::Result<Vec<u8>> {
        self.take_bytes()
    }

    fn read_i8(&mut self) -> thrift::Result<i8> {
        self.take().map(i8::from_be_bytes)
    }

    fn read_i16(&mut self) -> thrift::Result<i16> {
        self.take().map(i16::from_be_bytes)
    }

    fn read_i32(&mut self) -> thrift::Result<i32> {
        self.take().map(i32::from_be_bytes)
    }

    fn read_i64(&mut self) -> thrift::Result<i64> {
        self.take().map(i64::from_be_bytes)
    }

    fn read_double(&mut self) -> thrift::Result<f64> {
        self.take().map(f64::from_be_bytes)
    }

    fn read_string(&mut self) -> thrift::Result<String> {
        // Only names of calls and texts of errors are read so: what is no UTF-8 in them is shown as such.
        Ok(String::from_utf8_lossy(&self.take_bytes()?).into_owned())
    }

    fn read_list_begin(&mut self) -> thrift::Result<TListIdentifier> {
        let kind = self.kind()?;
        Ok(TListIdentifier::new(kind, self.size()?))
    }

    fn read_list_end(&mut self) -> thrift::Result<()> {
        Ok(())
    }

    fn read_set_begin(&mut self) -> thrift::Result<TSetIdentifier> {
        let kind = self.kind()?;
        Ok(TSetIdentifier::new(kind, self.size()?))
    }

    fn read_set_end(&mut self) -> thrift::Result<()> {
        Ok(())
    }

    fn read_map_begin(&mut self) -> thrift::Result<TMapIdentifier> {
        let (key, value) = (self.kind()?, self.kind()?);
        Ok(TMapIdentifier::new(key, value, self.size()?))
    }

    fn read_map_end(&mut self) -> thrift::Result<()> {
        Ok(())
    }

    fn read_byte(&mut self) -> thrift::Result<u8> {
        let [byte] = self.take()?;
        Ok(byte)
    }
}
