//! `tables`: makes and loads the tables that the job reads.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::in_hbase::Made;
use super::{Error, Place, Servers, Settled};
use crate::cli;
use crate::ledger;
use crate::store::{Loaded, Store};

/// Makes the tables; says of each what became of it.
pub(super) fn create(args: &cli::Create) -> Result<String, Error> {
    let settled = Settled::of(&args.outside)?;
    let servers = match &settled.place {
        Place::Store(dir) => {
            Store::create(dir)?;
            return Ok(format!("the store in {} needs no tables made\n", dir.display()));
        }
        Place::Servers(servers) => servers,
    };
    let mut said = String::new();
    for Made { table, is_new, differences } in servers.hbase()?.create_tables()? {
        let what = if is_new { "made" } else { "stands already" };
        let name = &table.name;
        writeln!(said, "{name}: {what}").expect("a string takes all text");
        for difference in differences {
            log::warn!("table {name}: {difference}; in the HBase shell: {}", table.shell_alter());
        }
    }
    Ok(said)
}

/// Loads tables: all of the files, or nothing.
pub(super) fn load(args: &cli::Load) -> Result<String, Error> {
    let settled = Settled::of(&args.outside)?;
    let (similar, history) = (args.similar.as_deref(), args.history.as_deref());
    let loaded = match &settled.place {
        Place::Store(dir) => Store::create(dir)?.load(similar, history)?,
        Place::Servers(servers) => load_into(servers, similar, history)?,
    };
    if args.json {
        let document = serde_json::to_string(&loaded).expect("counts are plain");
        return Ok(document + "\n");
    }
    let Loaded { neighbours, versions } = loaded;
    Ok(format!("loaded {neighbours} neighbours and {versions} versions of histories\n"))
}

/// Loads tables of HBase: all of the files, or nothing.
pub(super) fn load_into(
    servers: &Servers,
    similar: Option<&Path>,
    history: Option<&Path>,
) -> Result<Loaded, Error> {
    let hbase = servers.hbase()?;
    // Judged whole, united and sorted by a store of its own, before anything is written.
    let folder = Folder::new()?;
    let store = Store::create(&folder.0)?;
    let loaded = store.load(similar, history)?;
    hbase.load(&store, similar.is_some(), history.is_some())?;
    Ok(loaded)
}

/// A folder for the time of a load.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder, Error> {
        let name = format!("online-recall-load-{}-{}", std::process::id(), ledger::now());
        let path = std::env::temp_dir().join(name);
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| Error::write(&path, error))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all::<&Path>(&self.0) {
            log::warn!("a folder is left behind: path={} error={error}", self.0.display());
        }
    }
}
