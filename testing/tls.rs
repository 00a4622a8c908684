//! TLS before servers that speak none by themselves, and certificates.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use native_tls::{Identity, TlsAcceptor};

/// A certificate for this machine that vouches for itself, and its key, in files.
pub struct Certified {
    /// What clients trust.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Certified {
    /// Makes them in a folder.
    #[track_caller]
    pub fn make(folder: &Path) -> Certified {
        let made = Certified { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
        let output = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=a test", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
            .args([&made.key, Path::new("-out"), &made.certificate])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        made
    }

    /// Speaks TLS to clients, and plainly to the server behind; returns where it listens.
    #[track_caller]
    pub fn before(&self, server: &str) -> String {
        let [certificate, key] = [&self.certificate, &self.key].map(|file| fs::read(file).unwrap());
        let identity = Identity::from_pkcs8(&certificate, &key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (server, acceptor) = (server.to_owned(), TlsAcceptor::new(identity).unwrap());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&server).unwrap());
                let acceptor = acceptor.clone();
                std::thread::spawn(move || {
                    // Whoever does not trust the certificate goes away.
                    let Ok(mut client) = acceptor.accept(client) else { return };
                    for socket in [client.get_ref(), &server] {
                        socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
                    }
                    let mut server = server;
                    while pass(&mut client, &mut server) && pass(&mut server, &mut client) {}
                });
            }
        });
        address
    }
}

/// Passes on what there is; says whether there may be more.
fn pass(from: &mut impl Read, to: &mut impl Write) -> bool {
    let mut bytes = [0; 1 << 16];
    match from.read(&mut bytes) {
        Ok(0) => false,
        Ok(read) => to.write_all(&bytes[..read]).is_ok(),
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}
