//! HBase, judged by its Thrift servers and the families of its tables.

use super::servers::{Found, Server};
use crate::config;
use crate::hbase::{Client, Difference, Error, Kind, Table, Trying};
use crate::retry::{Ended, chain};

/// Asks every Thrift server; of the tables the first that answers tells.
pub(super) fn ask(config: &config::Hbase) -> Vec<Found> {
    let tables = [
        Table::new(Kind::Similar, config.similar.as_str()),
        Table::new(Kind::CbRecall, config.cb_recall.as_str()),
        Table::new(Kind::HistoryRecall, config.history_recall.as_str()),
    ];
    let mut found = Vec::new();
    let mut told = false;
    for server in &config.thrift {
        let at = Server::Hbase(server.to_string());
        let alone = config::Hbase { thrift: vec![server.clone()], ..config.clone() };
        match look(&at, &alone, &tables) {
            Ok(_) if told => found.push(at.well("answers".to_owned())),
            Ok(of_tables) => {
                told = true;
                found.extend(of_tables);
            }
            Err(error) => {
                let todo = "start it, or name another in hbase.thrift";
                found.push(at.mistake(chain(&error), todo));
            }
        }
    }
    found
}

fn look(at: &Server, config: &config::Hbase, tables: &[Table]) -> Result<Vec<Found>, Error> {
    let client = Client::new(config)?;
    let mut found = Vec::new();
    for table in tables {
        match client.differences(Trying::COMMAND, table) {
            Ok(differences) if differences.is_empty() => {
                found.push(at.well(format!("table {} is as it should be", table.name)));
            }
            Ok(all) => found.extend(all.iter().map(|difference| judge(at, table, difference))),
            Err(Ended::Failed(Error::NoTable { table, shell })) => found.push(at.mistake(
                format!("there is no table {table}"),
                &format!(
                    "online-recall tables create --config job.toml, or in the HBase shell: {shell}"
                ),
            )),
            Err(Ended::Failed(error)) => return Err(error),
            Err(Ended::Stopped) => unreachable!("a command makes one attempt, and is not stopped"),
        }
    }
    Ok(found)
}

/// Judges how a family is otherwise than it should be.
fn judge(at: &Server, table: &Table, difference: &Difference) -> Found {
    let text = format!("table {}: {difference}", table.name);
    let todo = format!("in the HBase shell: {}", table.shell_alter());
    // The offline jobs' families are theirs. What is kept for another time is counted as long as it is
    // there; with fewer versions, lists and receipts would be lost.
    let breaks = match difference {
        Difference::Missing(family) => family.name == table.kind.family(),
        Difference::Otherwise { wanted, versions, .. } => {
            wanted.name == table.kind.family() && *versions < wanted.versions
        }
    };
    if breaks { at.mistake(text, &todo) } else { at.warning(text, &todo) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_lose_lists_is_a_mistake_and_the_rest_a_warning() {
        let table = Table::new(Kind::CbRecall, "cb");
        let family = |name: &str| {
            *Kind::CbRecall.families().iter().find(|family| family.name == name).unwrap()
        };
        let otherwise = |name, versions, seconds| Difference::Otherwise {
            wanted: family(name),
            versions,
            seconds,
        };
        let at = Server::Hbase("h:9090".to_owned());
        for (difference, weight, said) in [
            (Difference::Missing(family("online")), "mistake: ", "family online is missing"),
            (Difference::Missing(family("als")), "warning: ", "family als is missing"),
            (otherwise("online", 3, 7_776_000), "mistake: ", "VERSIONS 3 "),
            (otherwise("als", 3, 7_776_000), "warning: ", "VERSIONS 3 "),
            (otherwise("online", 999_999, 86_400), "warning: ", "TTL 86400"),
        ] {
            let found = judge(&at, &table, &difference).to_string();
            assert!(found.starts_with(&format!("{weight}hbase h:9090: table cb: ")), "{found}");
            assert!(found.contains(said) && found.contains("shell: alter 'cb', "), "{found}");
        }
    }
}
