//! TLS, before a server that speaks none by itself.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use native_tls::{Identity, TlsAcceptor};
use testing::program;

use super::commands::place;
use super::site::{Site, cell};

/// Makes a certificate for this machine, and the key that belongs to it.
fn certify(folder: &Path) -> Identity {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
        .args(["-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=a test"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let read = |name| fs::read(folder.join(name)).unwrap();
    Identity::from_pkcs8(&read("cert.pem"), &read("key.pem")).unwrap()
}

/// Speaks TLS to clients, and plainly to the server behind; returns where it listens.
fn before(server: &str, identity: Identity) -> String {
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

/// Passes on what there is; says whether there may be more.
fn pass(from: &mut impl Read, to: &mut impl Write) -> bool {
    let mut bytes = [0; 1 << 16];
    match from.read(&mut bytes) {
        Ok(0) => false,
        Ok(read) => to.write_all(&bytes[..read]).is_ok(),
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

#[test]
fn a_server_is_spoken_to_over_tls_if_its_certificate_is_trusted() {
    let site = Site::new("tls");
    let folder = testing::folder();
    let server = before(&site.server, certify(folder.path()));
    let place = place(&site, &server);
    let list = format!("[{}]", vec!["116644"; 20_000].join(", "));
    site.put(&site.mailbox, site.mailbox.spot(&cell("2", 18)), &list, None);
    let show = ["show", "recall", "2", "--json", "--config", "job.toml", "--set", "hbase.tls=true"];
    let untrusted = program::end(program::command(place.folder(), show));
    untrusted.refused(1, &["cannot speak TLS", &server]);
    let mut command = program::command(place.folder(), show);
    command.env("SSL_CERT_FILE", folder.path().join("cert.pem"));
    let shown = program::end(command).done().json();
    assert_eq!(shown[0]["articles"].as_array().unwrap().len(), 20_000);
    // Who is told to speak plainly hears no plain reply.
    let plain = program::end(program::command(place.folder(), &show[..6]));
    plain.refused(1, &[&server]);
}
