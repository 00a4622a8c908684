use std::sync::{Arc, Mutex};

use super::*;
use crate::channel::memory;
use crate::dead_letters::DeadLetters;
use crate::findings::Findings;
use crate::stop::Stop;

/// A sink that says when it has a turn, and fails when it is told to.
#[derive(Debug)]
struct Scripted {
    name: &'static str,
    fails: Arc<Mutex<bool>>,
    turns: Arc<Mutex<Vec<&'static str>>>,
}

impl Sink for Scripted {
    fn batch(&self) -> usize {
        1
    }

    fn turn(&mut self, _: &Tap) -> Result<Turn, Failure> {
        self.turns.lock().unwrap().push(self.name);
        if *self.fails.lock().unwrap() { Err("it fails".into()) } else { Ok(Turn::Ready) }
    }
}

struct Scene {
    group: Group,
    fails: Vec<Arc<Mutex<bool>>>,
    turns: Arc<Mutex<Vec<&'static str>>>,
}

impl Scene {
    fn new(policy: Policy) -> Scene {
        let findings = Findings::default();
        let keys = Keys::new("a1", "channels.c1", [], &findings);
        let settings = memory::Settings::read(&keys);
        let turns = Arc::default();
        let (mut members, mut fails) = (Vec::new(), Vec::new());
        for name in ["k1", "k2", "k3"] {
            let failing = Arc::new(Mutex::new(false));
            let letters = DeadLetters::new("unused".as_ref());
            let tap =
                Tap::new(name, memory::Channel::new("c1", &settings), letters, Stop::default());
            let sink = Scripted { name, fails: Arc::clone(&failing), turns: Arc::clone(&turns) };
            members.push(Member { sink: Box::new(sink), tap: Arc::new(tap) });
            fails.push(failing);
        }
        Scene { group: Group::new(members, policy), fails, turns }
    }

    fn fail(&self, place: usize, fails: bool) {
        *self.fails[place].lock().unwrap() = fails;
    }

    fn turns(&mut self, many: usize) -> Vec<&'static str> {
        for _ in 0..many {
            let _turn = self.group.turn();
        }
        std::mem::take(&mut *self.turns.lock().unwrap())
    }
}

#[test]
fn failover_uses_the_highest_that_works_and_goes_back_to_it() {
    let max_penalty = Duration::from_millis(1);
    let mut scene = Scene::new(Policy::Failover { priorities: vec![5, 10, 1], max_penalty });
    assert_eq!(scene.turns(2), ["k2", "k2"]);
    scene.fail(1, true);
    assert_eq!(scene.turns(1), ["k2", "k1"]);
    scene.fail(1, false);
    // Its penalty is over at some time.
    while scene.turns(1) != ["k2"] {}
    let mut scene =
        Scene::new(Policy::Failover { priorities: vec![5, 10, 1], max_penalty: FORGIVEN });
    scene.fail(1, true);
    assert_eq!(scene.turns(2), ["k2", "k1", "k1"]);
}

#[test]
fn a_group_of_which_all_fail_fails() {
    let mut scene = Scene::new(Policy::LoadBalance { at_random: false, backoff: Some(FORGIVEN) });
    for place in 0..3 {
        scene.fail(place, true);
    }
    assert!(scene.group.turn().is_err());
    assert!(scene.group.turn().is_err());
    assert_eq!(scene.turns(0).len(), 3);
}

#[test]
fn round_robin_gives_each_its_turn_and_passes_over_one_that_fails() {
    let mut scene = Scene::new(Policy::LoadBalance { at_random: false, backoff: None });
    let all = scene.turns(6);
    assert_eq!(all[..3], all[3..]);
    assert_eq!(all.iter().filter(|&&name| name == "k2").count(), 2);
    scene.fail(0, true);
    let tried = scene.turns(6);
    assert_eq!(tried.iter().filter(|&&name| name != "k1").count(), 6);
    assert!(tried.contains(&"k1"));
}
