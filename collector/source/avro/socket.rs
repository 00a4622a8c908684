//! A peer's socket, whose reads end when the source does.

use std::io::{self, PipeReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv, sockopt};

/// How long a peer is waited for that is told of the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// A socket. A read that waits ends with an error as soon as the other end of a pipe is closed; one for which
/// nothing comes ends after `look`, as if there were a time-out.
#[derive(Debug)]
pub struct Socket {
    socket: TcpStream,
    ends: Arc<PipeReader>,
    look: Timespec,
}

impl Socket {
    /// Sets up the socket of a peer, which has so long to make room for an answer. One that is gone without a
    /// word is found out within two minutes.
    pub fn new(
        socket: TcpStream,
        ends: &Arc<PipeReader>,
        look: Duration,
        answer: Duration,
    ) -> io::Result<Socket> {
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(answer))?;
        sockopt::set_socket_keepalive(&socket, true)?;
        sockopt::set_tcp_keepidle(&socket, Duration::from_secs(60))?;
        sockopt::set_tcp_keepintvl(&socket, Duration::from_secs(10))?;
        sockopt::set_tcp_keepcnt(&socket, 6)?;
        let look = Timespec { tv_sec: look.as_secs() as i64, tv_nsec: look.subsec_nanos().into() };
        Ok(Socket { socket, ends: Arc::clone(ends), look })
    }

    /// Waits until something comes.
    fn wait(&self) -> io::Result<()> {
        let mut both =
            [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&*self.ends, PollFlags::IN)];
        match poll(&mut both, Some(&self.look)) {
            Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
            Ok(_) if !both[1].revents().is_empty() => Err(io::ErrorKind::ConnectionAborted.into()),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(&self.socket, &mut *to, RecvFlags::DONTWAIT) {
                Ok((read, _)) => return Ok(read),
                Err(Errno::AGAIN) => self.wait()?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Ends a connection so that the peer can read every answer: it is told that none will follow, and what it has
/// sent meanwhile is read away, for a moment. Otherwise the system would end it with a reset.
pub fn farewell(mut socket: &TcpStream) -> io::Result<()> {
    let deadline = Instant::now() + FAREWELL;
    socket.shutdown(Shutdown::Write)?;
    socket.set_read_timeout(Some(FAREWELL))?;
    let mut passed = vec![0; 1 << 16];
    while Instant::now() < deadline && socket.read(&mut passed)? > 0 {}
    Ok(())
}
