use super::*;
use crate::source::trial::{file_channel, inlet};

#[test]
fn a_batch_that_is_put_again_goes_only_where_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let channels = ["c1", "c2"].map(|name| file_channel(&folder.path().join(name), 10));
    let put = |inlet: &Inlet, batch: &'static str| {
        inlet.persist_once(vec![Event::new("a")], batch.into(), &Stop::default()).unwrap();
        (channels.each_ref().map(|channel| channel.len()), inlet.flow().put.load(Ordering::Relaxed))
    };
    // Killed between two commits, it has put the batch into the first of them alone.
    let first = inlet(&channels[..1]);
    assert_eq!(put(&first, "one"), ([1, 0], 1));
    let both = inlet(&channels);
    assert_eq!(both.last_batches(), ["one"]);
    assert_eq!(put(&both, "one"), ([1, 1], 1));
    assert_eq!(put(&both, "one"), ([1, 1], 1));
    assert_eq!(put(&both, "two"), ([2, 2], 3));
    assert_eq!(both.last_batches(), ["two"]);
}
