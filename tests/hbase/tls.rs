//! TLS, before a server that speaks none by itself.

use testing::program;
use testing::tls::Certified;

use super::commands::place;
use super::site::{Site, cell};

#[test]
fn a_server_is_spoken_to_over_tls_if_its_certificate_is_trusted() {
    let site = Site::new("tls");
    let folder = testing::folder();
    let certified = Certified::make(folder.path());
    let server = certified.before(&site.server);
    let place = place(&site, &server);
    let list = format!("[{}]", vec!["116644"; 20_000].join(", "));
    site.put(&site.mailbox, site.mailbox.spot(&cell("2", 18)), &list, None);
    let show = ["show", "recall", "2", "--json", "--config", "job.toml", "--set", "hbase.tls=true"];
    let untrusted = program::end(program::command(place.folder(), show));
    untrusted.refused(1, &["cannot speak TLS", &server]);
    let mut command = program::command(place.folder(), show);
    command.env("SSL_CERT_FILE", &certified.certificate);
    let shown = program::end(command).done().json();
    assert_eq!(shown[0]["articles"].as_array().unwrap().len(), 20_000);
    // Who is told to speak plainly hears no plain reply.
    let plain = program::end(program::command(place.folder(), &show[..6]));
    plain.refused(1, &[&server]);
}
