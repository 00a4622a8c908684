//! A site's tables in an HBase, and the parts of the program that work on them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use dataflows::{Article, Cell, Channel, Epoch, Recall, Settings, User};
use hbase_thrift::hbase::{HbaseSyncClient, THbaseSyncClient};
use online_recall::config::{self, Address};
use online_recall::hbase::{Change, Client, Kind, Spot, Table, Trying, Version, list, patience};
use online_recall::ledger::{Binding, Fence, Names};
use online_recall::outside::Told;
use online_recall::retry::Stop;
use online_recall::{sink, tables};
use testing::kafka::LONG;
use testing::servers::{Server, hbase};
use thrift::protocol::{TBinaryInputProtocol, TBinaryOutputProtocol};
use thrift::transport::{TBufferedReadTransport, TBufferedWriteTransport, TIoChannel, TTcpChannel};

/// Tables of a test's own.
pub struct Site {
    pub names: Arc<Names>,
    pub server: String,
    /// Straight to the server.
    pub client: Arc<Client>,
    pub similar: Table,
    pub mailbox: Table,
    pub history: Table,
}

/// How HBase is reached by way of these servers, and the tables of a site there.
pub fn config(name: &str, servers: &[&str]) -> config::Hbase {
    let address = |server: &&str| {
        let (host, port) = server.split_once(':').unwrap();
        Address { host: host.to_owned(), port: port.parse().unwrap() }
    };
    config::Hbase {
        thrift: servers.iter().map(address).collect(),
        tls: false,
        similar: format!("{name}_similar").into(),
        cb_recall: format!("{name}_recall").into(),
        history_recall: format!("{name}_history").into(),
    }
}

pub fn client(servers: &[&str]) -> Arc<Client> {
    Arc::new(Client::new(&config("any", servers)).unwrap())
}

impl Site {
    /// Tables in the HBase that all tests share.
    pub fn new(name: &str) -> Site {
        Site::on(hbase(), name)
    }

    /// Tables in an HBase of the test's own.
    pub fn on(server: &Server, name: &str) -> Site {
        let site = Site::without_tables(server, name);
        for table in [&site.similar, &site.mailbox, &site.history] {
            assert!(site.client.create(Trying::COMMAND, table).unwrap());
        }
        site
    }

    /// Names of tables that nobody has made.
    pub fn without_tables(server: &Server, name: &str) -> Site {
        let server = server.address();
        let config = config(name, &[&server]);
        let names = Names {
            similar: config.similar.as_str().to_owned(),
            cb_recall: config.cb_recall.as_str().to_owned(),
            history_recall: config.history_recall.as_str().to_owned(),
            ..Names::default()
        };
        Site {
            client: client(&[&server]),
            server,
            similar: Table::new(Kind::Similar, &names.similar),
            mailbox: Table::new(Kind::CbRecall, &names.cb_recall),
            history: Table::new(Kind::HistoryRecall, &names.history_recall),
            names: Arc::new(names),
        }
    }

    /// The crate's own client, for what the program never does.
    pub fn thrift(&self) -> impl THbaseSyncClient + use<> {
        let mut channel = TTcpChannel::new();
        channel.open(&self.server).unwrap();
        let (read, write) = channel.split().unwrap();
        let read = TBinaryInputProtocol::new(TBufferedReadTransport::new(read), true);
        let write = TBinaryOutputProtocol::new(TBufferedWriteTransport::new(write), true);
        HbaseSyncClient::new(read, write)
    }

    /// Puts a version of a cell, at a date or now.
    pub fn put(&self, table: &Table, spot: Spot, value: &str, at: Option<u64>) {
        let put = [Change::Put(spot, value.into())];
        self.client.change(table, &put, at, patience(0)).unwrap();
    }

    /// Deletes a column, as a reader of mailboxes does.
    pub fn delete(&self, table: &Table, spot: Spot) {
        self.client.change(table, &[Change::Delete(spot)], None, patience(0)).unwrap();
    }

    /// The versions of a cell, oldest first.
    pub fn versions(&self, table: &Table, cell: &Cell) -> Vec<(u64, String)> {
        let versions = self.client.versions(table, &table.spot(cell), patience(0)).unwrap();
        let text =
            |version: Version| (version.timestamp, String::from_utf8(version.value).unwrap());
        versions.into_iter().rev().map(text).collect()
    }

    /// The lists in a user's mailbox, oldest first.
    pub fn mailed(&self, cell: &Cell) -> Vec<String> {
        self.versions(&self.mailbox, cell).into_iter().map(|(_, list)| list).collect()
    }

    /// The tables as the job reads them, by way of `client`; `bound` are epochs that run again.
    pub fn tables(&self, client: &Arc<Client>, bound: &[(u64, u64)]) -> tables::Hbase {
        let bound = bound.iter().map(|(time, epoch)| (*time, Epoch(*epoch))).collect();
        tables::Hbase::new(Arc::clone(client), &self.names, bound, 3, Stop::default())
    }

    /// An epoch that is bound at this date.
    pub fn binding(&self, epoch: u64, time: u64) -> Arc<Binding> {
        Arc::new(Binding {
            epoch: Epoch(epoch),
            time,
            settings: Arc::new(Settings::default()),
            names: Arc::clone(&self.names),
            ranges: Vec::new(),
        })
    }
}

pub fn cell(user: &str, channel: u32) -> Cell {
    Cell { user: User::from_bytes(user.as_bytes()), channel: Channel(channel) }
}

pub fn recall(user: &str, channel: u32, ids: &[i64]) -> Recall {
    let articles = ids.iter().copied().map(Article).collect();
    Recall { cell: cell(user, channel), articles, version: 0, stands: false }
}

pub fn text(ids: &[i64]) -> String {
    let articles: Vec<_> = ids.iter().copied().map(Article).collect();
    String::from_utf8(list(&articles)).unwrap()
}

/// A sink at work, whose token is confirmed all the while.
pub struct Sink {
    sink: sink::Hbase,
    pub told: Receiver<Told>,
    pub stop: Stop,
}

impl Sink {
    pub fn start(client: &Arc<Client>, ran_before: u64) -> Sink {
        let fence = Arc::new(Fence::default());
        fence.confirm(Instant::now());
        let sink = Sink::behind(client, ran_before, &fence);
        let stop = sink.stop.clone();
        std::thread::spawn(move || {
            while !stop.wait(Duration::from_secs(1)) {
                fence.confirm(Instant::now());
            }
        });
        sink
    }

    pub fn behind(client: &Arc<Client>, ran_before: u64, fence: &Arc<Fence>) -> Sink {
        let (tell, told) = crossbeam_channel::unbounded();
        let stop = Stop::default();
        let sink = sink::Hbase::start(client, fence, Epoch(ran_before), 3, &stop, tell);
        Sink { sink, told, stop }
    }

    pub fn recalls(&mut self, binding: &Arc<Binding>, recalls: &[Recall]) {
        self.sink.recalls(binding, recalls.to_vec());
    }

    /// Waits until this epoch is told to be recalled, as the next one.
    #[track_caller]
    pub fn recalled(&self, epoch: u64) {
        // Calls to a server that is slow take minutes.
        let told = self.told.recv_timeout(5 * LONG).unwrap();
        let recalled = matches!(told, Told::Recalled(told) if told == Epoch(epoch));
        assert!(recalled, "epoch {epoch} is not recalled: {told:?}");
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

/// The beginning of a request of this call.
pub fn request(call: &str) -> Vec<u8> {
    [&u32::try_from(call.len()).unwrap().to_be_bytes()[..], call.as_bytes()].concat()
}
