use super::*;
use crate::channel::file;
use crate::selector::Channels;
use crate::source::trial::read;

fn channel(folder: &tempfile::TempDir, name: &str) -> Arc<dyn Channel> {
    let [checkpoint, data] = ["checkpoint", "data"].map(|part| folder.path().join(name).join(part));
    let given = [
        ("checkpointDir", checkpoint.to_str().unwrap()),
        ("dataDirs", data.to_str().unwrap()),
        ("minimumRequiredSpace", "0"),
    ];
    file::Channel::open(name, &read(&given, file::Settings::read).0).unwrap()
}

#[test]
fn a_batch_that_is_put_again_goes_only_where_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let channels = ["c1", "c2"].map(|name| channel(&folder, name));
    let to = |required: &[usize]| {
        let to = Channels { required: required.to_vec(), optional: Vec::new() };
        Inlet::new("r1", Vec::new(), Selector::Replicating { to }, channels.to_vec())
    };
    let put = |inlet: &Inlet, batch: &'static str| {
        inlet.persist_once(vec![Event::new("a")], batch.into(), &Stop::default()).unwrap();
        (channels.each_ref().map(|channel| channel.len()), inlet.flow().put.load(Ordering::Relaxed))
    };
    // Killed between two commits, it has put the batch into the first of them alone.
    let first = to(&[0]);
    assert_eq!(put(&first, "one"), ([1, 0], 1));
    let both = to(&[0, 1]);
    assert_eq!(both.last_batches(), ["one"]);
    assert_eq!(put(&both, "one"), ([1, 1], 1));
    assert_eq!(put(&both, "one"), ([1, 1], 1));
    assert_eq!(put(&both, "two"), ([2, 2], 3));
    assert_eq!(both.last_batches(), ["two"]);
}
