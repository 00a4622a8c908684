//! What travels between the workers of different processes: timely's, over connections of ours.

use std::io;
use std::net::TcpStream;

use timely::CommunicationConfig;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};
use timely::communication::{Hooks, WorkerGuards};
use timely::worker::Worker;

/// The workers that a process starts, and how they reach all others.
#[derive(Debug, Default)]
pub struct Network {
    /// A connection to each other process, by index; none to this one. Nothing where it is alone.
    pub(super) sockets: Vec<Option<TcpStream>>,
}

impl Network {
    /// That of a process alone.
    pub fn alone() -> Network {
        Network::default()
    }

    /// Starts so many workers of this process.
    ///
    /// # Errors
    ///
    /// What timely says.
    pub(crate) fn start(
        self,
        workers: usize,
        run: impl Fn(&mut Worker) + Send + Sync + 'static,
    ) -> Result<WorkerGuards<()>, String> {
        if self.sockets.is_empty() {
            let (builders, others) = CommunicationConfig::Process(workers).try_build()?;
            return timely::execute::execute_from(
                builders,
                others,
                timely::WorkerConfig::default(),
                run,
            );
        }
        let here = self.sockets.iter().position(Option::is_none);
        let here = here.ok_or("a process has no connection to itself")?;
        let hooks = Hooks::default();
        let local =
            ProcessBuilder::new_typed_vector(workers, hooks.refill.clone(), hooks.spill.clone());
        let joined = initialize_networking_from_sockets(local, self.sockets, here, workers, hooks);
        let (builders, guard) = joined.map_err(|error: io::Error| error.to_string())?;
        let builders = builders.into_iter().map(AllocatorBuilder::Tcp).collect();
        timely::execute::execute_from(
            builders,
            Box::new(guard),
            timely::WorkerConfig::default(),
            run,
        )
    }
}
