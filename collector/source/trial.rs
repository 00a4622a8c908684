//! For tests of sources: a source at work on a channel in memory.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Inlet, Source};
use crate::channel::{Channel, file, memory};
use crate::event::Event;
use crate::findings::{Finding, Findings};
use crate::keys::Keys;
use crate::properties::Property;
use crate::selector::{Channels, Selector};
use crate::stop::Stop;

/// Reads the keys of a component; returns it with what was found.
pub fn read<T>(given: &[(&str, &str)], read: impl FnOnce(&Keys<'_>) -> T) -> (T, Vec<String>) {
    let property = |(at, (key, value)): (usize, &(&str, &str))| Property {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
        line: at + 1,
    };
    let properties: Vec<_> = given.iter().enumerate().map(property).collect();
    let findings = Findings::default();
    let keys = properties.iter().map(|property| (property.key.clone(), property));
    let keys = Keys::new("a1", "sources.r1", keys, &findings);
    let component = read(&keys);
    keys.finish();
    (component, findings.into_sorted().iter().map(Finding::to_string).collect())
}

/// The bodies of events, as text.
pub fn bodies(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| String::from_utf8_lossy(&event.body).into_owned()).collect()
}

/// A channel of this capacity in files of this folder, which says at once that it is full.
pub fn file_channel(folder: &Path, capacity: usize) -> Arc<dyn Channel> {
    let [checkpoint, data] = ["checkpoint", "data"].map(|part| folder.join(part));
    let given = [
        ("checkpointDir", checkpoint.to_str().unwrap()),
        ("dataDirs", data.to_str().unwrap()),
        ("capacity", &capacity.to_string()),
        ("transactionCapacity", &capacity.to_string()),
        ("keep-alive", "0"),
        ("minimumRequiredSpace", "0"),
    ];
    file::Channel::open("c1", &read(&given, file::Settings::read).0).unwrap()
}

/// The inlet of a source that must put all into all of these channels.
pub fn inlet(channels: &[Arc<dyn Channel>]) -> Inlet {
    let to = Channels { required: (0..channels.len()).collect(), optional: Vec::new() };
    Inlet::new("r1", Vec::new(), Selector::Replicating { to }, channels.to_vec())
}

/// Ends a source when it is dropped: then even a test that fails comes to its end.
pub struct Ends<'a>(pub &'a Stop);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// A channel, and the inlet of a source into it.
pub struct Trial {
    /// The channel.
    pub channel: Arc<memory::Channel>,
    /// The inlet.
    pub inlet: Inlet,
    /// Ends the source.
    pub stop: Stop,
}

impl Trial {
    /// With a channel of this capacity, which says at once that it is full.
    pub fn new(capacity: usize) -> Trial {
        let capacity = capacity.to_string();
        let given =
            [("capacity", &*capacity), ("transactionCapacity", &*capacity), ("keep-alive", "0")];
        let (settings, _) = read(&given, memory::Settings::read);
        let channel = memory::Channel::new("c1", &settings);
        let inlet = inlet(&[Arc::clone(&channel) as _]);
        Trial { channel, inlet, stop: Stop::default() }
    }

    /// Runs a source to its own end.
    pub fn run_to_end(&self, source: &mut dyn Source) {
        source.run(&self.inlet, &self.stop).unwrap();
    }

    /// Runs a source until so many events were taken from the channel, and returns them.
    pub fn run_and_take_events(&self, source: &mut dyn Source, most: usize) -> Vec<Event> {
        std::thread::scope(|threads| {
            let running = threads.spawn(|| source.run(&self.inlet, &self.stop).unwrap());
            let mut all = Vec::new();
            while all.len() < most {
                all.extend(self.take(Duration::from_secs(20)));
            }
            self.stop.stop();
            running.join().unwrap();
            all.extend(self.take(Duration::ZERO));
            all
        })
    }

    /// Likewise; returns their bodies.
    pub fn run_and_take(&self, source: &mut dyn Source, most: usize) -> Vec<String> {
        bodies(&self.run_and_take_events(source, most))
    }

    /// The bodies of what waits in the channel.
    pub fn taken(&self) -> Vec<String> {
        bodies(&self.take(Duration::ZERO))
    }

    /// What comes first, or waits.
    pub fn take(&self, patience: Duration) -> Vec<Event> {
        let taken = Arc::clone(&self.channel).take(usize::MAX, patience).unwrap();
        let events = taken.events().to_vec();
        assert!(patience == Duration::ZERO || !events.is_empty(), "nothing comes");
        taken.commit().unwrap();
        events
    }
}
