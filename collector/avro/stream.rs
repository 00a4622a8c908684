//! A connection with its layers: TLS, compression, or both.
//!
//! With both, Flume up to 1.9 has TLS outside, as it should be, and Flume 1.10 and 1.11 have the compression
//! outside. Who is called finds out which by the first byte that comes; who calls has to try.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use native_tls::{HandshakeError, TlsConnector, TlsStream};
use openssl::ssl::{self, SslAcceptor, SslStream};

use super::deflate::Deflated;
use super::frame::is_silence;

/// The first byte of TLS: a record of its handshake.
const TLS_BEGINS: u8 = 0x16;

/// The level at which a server compresses: a peer that sends most gets little.
const SERVER_LEVEL: u32 = 6;

/// Which layer is outside where there are two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outside {
    /// TLS: as Flume up to 1.9 has it.
    #[default]
    Tls,
    /// The compression: as Flume 1.10 and 1.11 have it.
    Zlib,
}

impl Outside {
    /// The other one.
    pub fn other(self) -> Outside {
        match self {
            Outside::Tls => Outside::Zlib,
            Outside::Zlib => Outside::Tls,
        }
    }
}

/// Why a connection is none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// TLS does not come about.
    #[error("there is no TLS with the peer")]
    Tls(#[source] native_tls::Error),
    /// TLS does not come about with a peer that has made the connection.
    #[error("there is no TLS with the peer")]
    Accepted(#[source] ssl::Error),
    /// The peer does not go on.
    #[error("the peer says nothing")]
    Silent,
    /// The connection has failed.
    #[error("the connection has failed")]
    Connection(#[from] io::Error),
}

trait Layers: Read + Write + Send {}

impl<S: Read + Write + Send> Layers for S {}

/// A connection.
pub struct Stream {
    socket: TcpStream,
    layers: Box<dyn Layers>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Stream {
    /// The layers over a connection that a peer has made, which it has to bring about within this time. `lower`
    /// reads and writes the socket.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn accepted(
        socket: TcpStream,
        lower: impl Read + Write + Send + 'static,
        tls: Option<&SslAcceptor>,
        is_deflated: bool,
        patience: Duration,
    ) -> Result<Stream, Error> {
        let deadline = Instant::now() + patience;
        let layers: Box<dyn Layers> = match (tls, is_deflated) {
            (None, false) => Box::new(lower),
            (None, true) => Box::new(Deflated::new(lower, SERVER_LEVEL)),
            (Some(tls), false) => Box::new(let_in(tls, lower, deadline)?),
            (Some(tls), true) => {
                let lower = Begun::new(lower, deadline)?;
                if lower.first == Some(TLS_BEGINS) {
                    Box::new(Deflated::new(let_in(tls, lower, deadline)?, SERVER_LEVEL))
                } else {
                    let lower = Deflated::new(lower, SERVER_LEVEL);
                    Box::new(let_in(tls, lower, deadline)?)
                }
            }
        };
        Ok(Stream { socket, layers })
    }

    /// The layers over a connection that was made to a peer, which has to answer within this time: TLS for
    /// a host of this name, and compression at a level.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn connected(
        socket: TcpStream,
        tls: Option<(&TlsConnector, &str)>,
        level: Option<u32>,
        outside: Outside,
        patience: Duration,
    ) -> Result<Stream, Error> {
        let deadline = Instant::now() + patience;
        let lower = socket.try_clone()?;
        let layers: Box<dyn Layers> = match (tls, level) {
            (None, None) => Box::new(lower),
            (None, Some(level)) => Box::new(Deflated::new(lower, level)),
            (Some((tls, host)), None) => Box::new(shaken(tls.connect(host, lower), deadline)?),
            (Some((tls, host)), Some(level)) => match outside {
                Outside::Tls => {
                    Box::new(Deflated::new(shaken(tls.connect(host, lower), deadline)?, level))
                }
                Outside::Zlib => {
                    let lower = Deflated::new(lower, level);
                    Box::new(shaken(tls.connect(host, lower), deadline)?)
                }
            },
        };
        Ok(Stream { socket, layers })
    }

    /// The socket below all layers.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }
}

impl Read for Stream {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.layers.read(to)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.layers.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.layers.flush()
    }
}

/// Brings a handshake of TLS to its end.
fn shaken<S: Read + Write>(
    mut shaking: Result<TlsStream<S>, HandshakeError<S>>,
    deadline: Instant,
) -> Result<TlsStream<S>, Error> {
    loop {
        match shaking {
            Ok(stream) => return Ok(stream),
            Err(HandshakeError::Failure(error)) => return Err(Error::Tls(error)),
            Err(HandshakeError::WouldBlock(_)) if Instant::now() > deadline => {
                return Err(Error::Silent);
            }
            Err(HandshakeError::WouldBlock(halfway)) => shaking = halfway.handshake(),
        }
    }
}

/// Brings about the TLS of a peer that has made the connection.
fn let_in<S: Read + Write>(
    tls: &SslAcceptor,
    lower: S,
    deadline: Instant,
) -> Result<SslStream<S>, Error> {
    let mut shaking = tls.accept(lower);
    loop {
        match shaking {
            Ok(stream) => return Ok(stream),
            Err(ssl::HandshakeError::SetupFailure(error)) => {
                return Err(Error::Accepted(error.into()));
            }
            Err(ssl::HandshakeError::Failure(failed)) => {
                return Err(Error::Accepted(failed.into_error()));
            }
            Err(ssl::HandshakeError::WouldBlock(_)) if Instant::now() > deadline => {
                return Err(Error::Silent);
            }
            Err(ssl::HandshakeError::WouldBlock(halfway)) => shaking = halfway.handshake(),
        }
    }
}

/// A stream whose first byte was looked at.
struct Begun<S> {
    first: Option<u8>,
    inner: S,
}

impl<S: Read> Begun<S> {
    fn new(mut inner: S, deadline: Instant) -> Result<Begun<S>, Error> {
        let mut byte = [0];
        loop {
            match inner.read(&mut byte) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(_) => return Ok(Begun { first: Some(byte[0]), inner }),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if !is_silence(&error) => return Err(error.into()),
                Err(_) if Instant::now() > deadline => return Err(Error::Silent),
                Err(_) => {}
            }
        }
    }
}

impl<S: Read> Read for Begun<S> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match (self.first.take(), to.first_mut()) {
            (Some(byte), Some(first)) => {
                *first = byte;
                Ok(1)
            }
            (first, _) => {
                self.first = first;
                self.inner.read(to)
            }
        }
    }
}

impl<S: Write> Write for Begun<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
