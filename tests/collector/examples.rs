//! The agents of `fixtures/agents`, which docs/collector.md shows: each at work, against real servers.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use hdfs_native::sync::{Client, ClientBuilder};
use serde_json::json;
use testing::kafka::wait_for;
use testing::place::{CLICK, Place};
use testing::servers;

use super::agent::Agent;

/// A place with an agent's file, and a folder of its own in the HDFS that all share.
struct Scene {
    place: Place,
    client: Client,
    root: String,
}

impl Scene {
    fn new() -> Scene {
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let root = format!("/examples/{}", FOLDERS.fetch_add(1, Ordering::Relaxed));
        let client = ClientBuilder::new().with_url(url("")).build().unwrap();
        let place = Place::empty();
        fs::create_dir(place.path("logs")).unwrap();
        Scene { place, client, root }
    }

    /// Starts the agent of an example, with these variables beside those of the place.
    fn start(&self, example: &str, more: &[(&str, &str)]) -> Agent {
        let (logs, channels) = (self.place.path("logs"), self.place.path("channels"));
        let hdfs = url(&self.root);
        let own = [
            ("LOGS", logs.to_str().unwrap()),
            ("CHANNELS", channels.to_str().unwrap()),
            ("HDFS", hdfs.as_str()),
        ];
        let file = format!("{}/fixtures/agents/{example}.properties", env!("CARGO_MANIFEST_DIR"));
        Agent::of(&self.place, &file, &[&own, more].concat())
    }

    /// The lines of all files below a folder, sorted; and the names of the folders that they stand in.
    fn lines(&self, below: &str) -> (Vec<String>, Vec<String>) {
        let (mut lines, mut folders) = (Vec::new(), Vec::new());
        let Ok(all) = self.client.list_status(&format!("{}{below}", self.root), true) else {
            return (lines, folders);
        };
        for file in all.iter().filter(|status| !status.isdir) {
            // One that is being written cannot be read yet.
            let Ok(mut reader) = self.client.read(&file.path) else { continue };
            let bytes = reader.read_bytes(reader.file_length()).unwrap();
            lines.extend(String::from_utf8(bytes.into()).unwrap().lines().map(str::to_owned));
            let folder = file.path.rsplit_once('/').unwrap().0;
            folders.push(folder.strip_prefix(&self.root).unwrap().to_owned());
        }
        lines.sort();
        folders.sort();
        folders.dedup();
        (lines, folders)
    }
}

fn url(path: &str) -> String {
    format!("hdfs://{}{path}", servers::hdfs().address())
}

fn numbered(what: &str, many: usize) -> Vec<String> {
    (0..many).map(|at| format!("{what} {at:05}")).collect()
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_directory_is_carried_to_hdfs_file_by_file() {
    let scene = Scene::new();
    let lines = numbered("line", 2500);
    scene.place.write("logs/day.log", text(&lines));
    let agent = scene.start("directory", &[]);
    wait_for("the file to be set aside", || {
        scene.place.path("logs/day.log.COMPLETED").exists().then_some(())
    });
    agent.delivers("hdfs", 2500);
    agent.ends();
    let (there, folders) = scene.lines("/flume");
    assert_eq!((there, folders), (lines, vec!["/flume/files".to_owned()]));
}

#[test]
fn a_growing_log_lands_in_folders_of_ten_minutes() {
    let scene = Scene::new();
    let lines = numbered("line", 3000);
    scene.place.write("logs/access.log", text(&lines[..1000]));
    let agent = scene.start("tail", &[]);
    agent.reads(1000);
    // In the middle its log is rotated.
    fs::rename(scene.place.path("logs/access.log"), scene.place.path("logs/access.log.1")).unwrap();
    scene.place.write("logs/access.log", text(&lines[1000..]));
    agent.delivers("hdfs", 3000);
    agent.ends();
    let (there, folders) = scene.lines("/flume/events");
    assert_eq!(there, lines);
    for folder in folders {
        // As 17:38:59 lands in 1730.
        let minutes = folder.rsplit('/').next().unwrap();
        assert!(minutes.len() == 4 && minutes.ends_with('0'), "{folder}");
    }
}

#[test]
fn three_logs_of_two_machines_meet_by_kind_and_day() {
    let (a, b, c) = (Scene::new(), Scene::new(), Scene::new());
    let port = servers::free_ports().to_string();
    let to = [("PORT", &*port), ("BIND", "127.0.0.1"), ("COLLECTOR", "127.0.0.1")];
    let gathering = c.start("gathering", &to);
    let kinds = ["access", "nginx", "web"];
    let mut machines = Vec::new();
    for (name, machine) in [("a", &a), ("b", &b)] {
        for kind in kinds {
            machine.place.write(
                &format!("logs/{kind}.log"),
                text(&numbered(&format!("{kind} of {name}"), 400)),
            );
        }
        machines.push(machine.start("machine", &to));
    }
    gathering.delivers("hdfs", 2400);
    machines.into_iter().for_each(Agent::ends);
    gathering.ends();
    for kind in kinds {
        let (there, folders) = c.lines(&format!("/source/logs/{kind}"));
        let of = |name| numbered(&format!("{kind} of {name}"), 400);
        assert_eq!(there, [of("a"), of("b")].concat());
        // A day, or two at midnight.
        assert!((1..3).contains(&folders.len()), "{folders:?}");
    }
}

/// What a kill leaves is completed by the next start.
#[test]
fn clicks_reach_the_archive_and_the_live_jobs_topic_once_also_through_a_kill() {
    let scene = Scene::new();
    let kafka = servers::kafka().address();
    let topic = format!("examples-clicks-{}", std::process::id());
    let on = format!("--bootstrap-server {kafka}");
    scene.place.run(&format!("topics create {topic} --partitions 1 {on}")).done();
    let lines: Vec<_> =
        (0..2000).map(|at| CLICK.replace("\"18005\"", &format!("\"{at}\""))).collect();
    scene.place.write("logs/userClick.log", text(&lines));
    let variables = [("KAFKA", &*kafka), ("TOPIC", &*topic)];
    let agent = scene.start("clicks", &variables);
    agent.reads(1);
    agent.kill();
    let agent = scene.start("clicks", &variables);
    let consume = format!("consume {topic} --from-beginning {on} --max");
    scene.place.run(&format!("{consume} 2000")).done();
    agent.empties("archive");
    agent.ends();
    // One partition keeps its order: this is the end of the topic.
    scene.place.write("end", "the end\n");
    scene.place.run(&format!("produce {topic} end {on}")).done();
    let printed = scene.place.run(&format!("{consume} 2001"));
    let mut there: Vec<_> = printed.text().lines().map(str::to_owned).collect();
    assert_eq!(there.pop().as_deref(), Some("the end"));
    let mut sorted = lines.clone();
    sorted.sort();
    there.sort();
    assert_eq!(there, sorted);
    // The archive may have one twice, in a file that the kill has cut off, within the last of its lines.
    let (mut archived, _) = scene.lines("/user/hive/warehouse/user_action");
    archived.dedup();
    let is_none = |line: &mut String| sorted.binary_search(line).is_err();
    let torn: Vec<_> = archived.extract_if(.., is_none).collect();
    assert_eq!(archived, sorted);
    let begins_one = |torn: &String| lines.iter().any(|line| line.starts_with(torn));
    assert!(torn.len() <= 1 && torn.iter().all(begins_one), "{torn:?}");
}

/// The whole way: from a line that a web server writes to what the site shows as hot.
#[test]
fn the_click_log_becomes_a_hot_list() {
    let scene = Scene::new();
    let (kafka, redis) = (servers::kafka().address(), servers::redis().address());
    let name = format!("examples-hot-{}", std::process::id());
    let (clicks, articles) = (format!("{name}-clicks"), format!("{name}-articles"));
    for topic in [&clicks, &articles] {
        let create = format!("topics create {topic} --partitions 2 --bootstrap-server {kafka}");
        scene.place.run(&create).done();
    }
    scene.place.write(
        "job.toml",
        format!(
            "job = '{name}'\ndataflows = ['hot']\n\
             kafka.clicks = '{clicks}'\nkafka.articles = '{articles}'\n\
             kafka.properties.'bootstrap.servers' = '{kafka}'\n\
             redis.url = 'redis://{redis}/10'\nredis.hot = '{name}:{{channel}}:hot'\n"
        ),
    );
    let job = Agent::job(&scene.place, "job.toml");
    let agent = scene.start("clicks", &[("KAFKA", &*kafka), ("TOPIC", &*clicks)]);
    // Of the first article 300 clicks, of the next one 200, and so on; what is no hit between them.
    let hits = [("18005", 300), ("44", 200), ("9", 100), ("170", 3)];
    let lines: Vec<_> = (0..300)
        .flat_map(|at| hits.into_iter().filter(move |(_, times)| at < *times))
        .map(|(article, _)| CLICK.replace("18005", article))
        .flat_map(|click| [click.replace("\"click\"", "\"exposure\""), click])
        .collect();
    scene.place.write("logs/userClick.log", text(&lines));
    let show = || scene.place.run("show hot 18 --config job.toml --json").done().json();
    wait_for("the last hits", || {
        let shown = show();
        let counted = shown.as_array()?.iter().filter_map(|it| it["score"].as_u64());
        (counted.sum::<u64>() >= 603).then_some(())
    });
    agent.ends();
    job.ends();
    let hot = hits.map(|(article, score)| json!({ "article": article, "score": score }));
    assert_eq!(show(), json!(hot));
}
