//! A connection by TLS for tasks: nothing in it waits.
//!
//! OpenSSL reads and writes a socket of tokio that answers at once, if only that it would have to wait; the task
//! then waits until the socket is ready for what OpenSSL had wanted of it, and asks again.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use openssl::ssl::{Error, ErrorCode, HandshakeError, SslAcceptor, SslStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connection by TLS.
#[derive(Debug)]
pub struct Stream(SslStream<Lower>);

/// A socket that does not wait, and remembers for what it would have had to.
#[derive(Debug)]
struct Lower {
    socket: TcpStream,
    wants: Wants,
}

#[derive(Clone, Copy, Debug)]
enum Wants {
    Read,
    Write,
}

impl Stream {
    /// Brings about the TLS of a connection that a peer has made.
    ///
    /// # Errors
    ///
    /// If the peer speaks something else, or goes away.
    pub async fn accepted(socket: TcpStream, tls: &SslAcceptor) -> Result<Stream, Error> {
        let mut shaking = tls.accept(Lower { socket, wants: Wants::Read });
        loop {
            match shaking {
                Ok(stream) => return Ok(Stream(stream)),
                Err(HandshakeError::SetupFailure(error)) => return Err(error.into()),
                Err(HandshakeError::Failure(failed)) => return Err(failed.into_error()),
                Err(HandshakeError::WouldBlock(halfway)) => {
                    let lower = halfway.get_ref();
                    let ready = match lower.wants {
                        Wants::Read => lower.socket.readable().await,
                        Wants::Write => lower.socket.writable().await,
                    };
                    if let Err(error) = ready {
                        // What is wrong with the socket OpenSSL finds out itself.
                        log::debug!("a socket is not ready: error={error}");
                    }
                    shaking = halfway.handshake();
                }
            }
        }
    }

    /// Does something as soon as the socket is ready for it.
    fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        mut work: impl FnMut(&mut SslStream<Lower>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            match work(&mut self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
            let lower = self.0.get_ref();
            ready!(match lower.wants {
                Wants::Read => lower.socket.poll_read_ready(context),
                Wants::Write => lower.socket.poll_write_ready(context),
            })?;
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(self.poll(context, |tls| tls.read(to.initialize_unfilled())))?;
        to.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(context, |tls| tls.write(bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(context, Write::flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let end = |tls: &mut SslStream<Lower>| match tls.shutdown() {
            Ok(_) => Ok(()),
            // The peer has said its end first.
            Err(error) if error.code() == ErrorCode::ZERO_RETURN => Ok(()),
            Err(error) => Err(error.into_io_error().unwrap_or_else(io::Error::other)),
        };
        ready!(self.poll(context, end))?;
        Pin::new(&mut self.0.get_mut().socket).poll_shutdown(context)
    }
}

impl Read for Lower {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.wants = Wants::Read;
        self.socket.try_read(to)
    }
}

impl Write for Lower {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wants = Wants::Write;
        self.socket.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::tls::{Shown, Versions};

    #[test]
    fn a_peer_that_writes_much_before_it_reads_gets_all_of_it_back() {
        const MANY: usize = 8 << 20;
        let folder = tempfile::tempdir().unwrap();
        let made = testing::tls::Certified::make(folder.path());
        let shown = Shown {
            store: made.certificate.clone(),
            key: Some(made.key),
            password: String::new(),
            versions: Versions { is_1_2: true, is_1_3: true },
        };
        let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        connector.set_verify(SslVerifyMode::NONE);
        let connector = connector.build();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let peer = std::thread::spawn(move || {
                let socket = std::net::TcpStream::connect(address).unwrap();
                let mut peer = connector.connect("127.0.0.1", socket).unwrap();
                let sent: Vec<u8> = (0..MANY).map(|number| (number / 7) as u8).collect();
                peer.write_all(&sent).unwrap();
                let mut read = vec![0; MANY];
                peer.read_exact(&mut read).unwrap();
                // The end is said, so that nobody takes a connection that was cut for one that has ended.
                let end = peer.ssl_read(&mut [0; 1]).unwrap_err().code();
                (read == sent, end)
            });
            let (socket, _) = listener.accept().await.unwrap();
            let mut stream = Stream::accepted(socket, &shown.acceptor().unwrap()).await.unwrap();
            let mut all = vec![0; MANY];
            stream.read_exact(&mut all).await.unwrap();
            stream.write_all(&all).await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(peer.join().unwrap(), (true, ErrorCode::ZERO_RETURN));
        });
    }
}
