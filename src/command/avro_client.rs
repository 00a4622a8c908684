//! `avro-client`: sends the lines of files to an avro source, each as an event.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use collector::avro::client::Peer;
use collector::avro::lines::{self, Lines};
use collector::event::Headers;
use collector::tls::Trusted;
use indicatif::HumanCount;

use super::Error;
use super::produce::progress;
use crate::cli;

/// How hard what is sent is compressed: as Flume's clients do.
const LEVEL: u32 = 6;

pub(super) fn avro_client(args: &cli::AvroClient) -> Result<(), Error> {
    let begun = Instant::now();
    let headers = match &args.headers {
        Some(path) => lines::headers(path)?,
        None => Headers::default(),
    };
    let timeout = Duration::from_secs(args.timeout.get().into());
    let tls = if args.ssl {
        let trusted = Trusted::of(args.truststore.as_deref(), &args.truststore_password);
        Some(trusted.connector()?)
    } else {
        None
    };
    let peer = Peer {
        host: args.host.clone(),
        port: args.port,
        connect: timeout,
        request: timeout,
        level: (args.compression == cli::AvroCompression::Deflate).then_some(LEVEL),
        tls,
    };
    let mut lines = Lines::to(&peer, args.batch_size.get(), headers)?;
    let file = match &args.file {
        Some(path) if path != Path::new("-") => {
            let read = |source| Error::Read { path: path.clone(), source };
            Some((path, File::open(path).map_err(read)?))
        }
        _ => None,
    };
    let total = file.as_ref().and_then(|(_, file)| Some(file.metadata().ok()?.len()));
    let bar = progress(total);
    let mut read_so_far = |bytes, lines| {
        bar.set_position(bytes);
        bar.set_message(format!("{} lines", HumanCount(lines)));
    };
    match (&args.directory, file) {
        (Some(folder), _) => lines.send_folder(folder, &mut read_so_far)?,
        (None, Some((path, file))) => lines.send(file, path, &mut read_so_far)?,
        (None, None) => {
            lines.send(std::io::stdin().lock(), Path::new("-"), &mut read_so_far)?;
        }
    }
    bar.finish_and_clear();
    let (peer, sent, seconds) = (peer.name(), lines.sent(), begun.elapsed().as_secs_f64());
    let rate = sent as f64 / seconds;
    log::info!("sent: peer={peer} events={sent} seconds={seconds:.1} rate={rate:.0}/s");
    Ok(())
}
