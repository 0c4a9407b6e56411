//! What the service does with several volumes at one instant, and how it holds back who is too fast.
#![cfg(test)]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strongroom_http_storage::Service;
use tempfile::TempDir;
use ureq::Agent;

struct Site {
    directory: TempDir,
    service: Option<Service>,
}

impl Site {
    /// With two plain volumes of 4 MiB.
    fn new() -> Self {
        let (directory, service) = (tempfile::tempdir().unwrap(), None);
        let mut site = Self { directory, service };
        site.start();
        for volume in ["a", "b"] {
            let path = format!("volumes/{volume}");
            assert_eq!(site.put(&path, &json!({ "bytes": 4 << 20 })).0, 201);
        }
        site
    }

    fn start(&mut self) {
        self.service = None;
        self.service = Some(Service::start(self.directory.path(), "127.0.0.1:0".parse().unwrap()).unwrap());
    }

    fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        let config = Agent::config_builder().http_status_as_error(false).proxy(None);
        let agent: Agent = config.build().into();
        let url = format!("http://{}/v1/{path}", self.service.as_ref().unwrap().address());
        let request = agent.put(url).header("connection", "close");
        let mut response = request.send(body.to_string()).unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        let answer = serde_json::from_str(&text).unwrap_or(Value::Null);
        (response.status().as_u16(), answer)
    }

    fn disk(&self, volume: &str) -> File {
        let (status, answer) = self.put(&format!("volumes/{volume}/exports/host"), &Value::Null);
        assert_eq!(status, 200, "{answer}");
        let path = answer["path"].as_str().unwrap();
        File::options().read(true).write(true).open(path).unwrap()
    }

    fn file(&self, volume: &str, name: &str) -> PathBuf {
        self.directory.path().join("volumes").join(volume).join(name)
    }

    /// The number at the beginning of a snapshot.
    fn number(&self, volume: &str, snapshot: &str) -> u64 {
        let kept = fs::read(self.file(volume, &format!("snapshot-{snapshot}"))).unwrap();
        u64::from_le_bytes(kept[..8].try_into().unwrap())
    }
}

#[test]
fn a_group_has_in_each_volume_what_was_written_before_one_instant() {
    let site = Site::new();
    let (a, b, ended) = (site.disk("a"), site.disk("b"), AtomicBool::new(false));
    std::thread::scope(|scope| {
        // Whatever number is in b was in a before it.
        scope.spawn(|| {
            for number in 1_u64.. {
                a.write_all_at(&number.to_le_bytes(), 0).unwrap();
                b.write_all_at(&number.to_le_bytes(), 0).unwrap();
                if ended.load(Ordering::SeqCst) {
                    break;
                }
            }
        });
        let taken: Vec<_> = (0..10)
            .map(|round| site.put(&format!("groups/s{round}"), &json!({ "volumes": ["b", "a"] })))
            .collect();
        ended.store(true, Ordering::SeqCst);
        for (status, answer) in taken {
            assert_eq!(status, 200, "{answer}");
            let names = [&answer[0]["name"], &answer[1]["name"]];
            assert_eq!(names, ["b", "a"]);
        }
    });
    let numbers = (0..10).map(|round| {
        let name = format!("s{round}");
        (site.number("a", &name), site.number("b", &name))
    });
    for (in_a, in_b) in numbers {
        assert!(in_a == in_b || in_a == in_b + 1, "{in_a} and {in_b}");
    }
}

#[test]
fn a_group_is_all_or_none_and_again_changes_nothing() {
    let site = Site::new();
    let group = json!({ "volumes": ["a", "b"] });
    let disk = site.disk("a");
    disk.write_all_at(&7_u64.to_le_bytes(), 0).unwrap();
    assert_eq!(site.put("groups/s", &group).0, 200);
    disk.write_all_at(&8_u64.to_le_bytes(), 0).unwrap();
    assert_eq!(site.put("groups/s", &group).0, 200);
    assert_eq!(site.number("a", "s"), 7);
    drop(disk);
    assert_eq!(site.put("volumes/b/snapshots/t", &Value::Null).0, 200);
    let (status, refusal) = site.put("groups/t", &group);
    assert_eq!((status, refusal["error"].as_str()), (409, Some("conflict")));
    assert!(!site.file("a", "snapshot-t").exists());
    assert_eq!(site.put("groups/u", &json!({ "volumes": ["a", "c"] })).0, 404);
    assert!(!site.file("a", "snapshot-u").exists());
}

#[test]
fn a_group_that_was_stopped_in_the_middle_is_finished_at_the_next_start() {
    let mut site = Site::new();
    assert_eq!(site.put("groups/s", &json!({ "volumes": ["a", "b"] })).0, 200);
    site.service = None;
    // As if it had been killed after it wrote down the group and recorded the snapshot in the first.
    let record = site.file("b", "record.json");
    let mut without: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    without["snapshots"] = json!({});
    fs::write(&record, without.to_string()).unwrap();
    let note = site.directory.path().join("volumes/.group");
    fs::write(&note, r#"{ "snapshot": "s", "volumes": ["a", "b", "gone"] }"#).unwrap();
    site.start();
    let (status, shown) = site.put("volumes/b", &json!({ "bytes": 4 << 20 }));
    assert_eq!((status, &shown["snapshots"]), (200, &json!(["s"])));
    assert!(!note.exists());
}

#[test]
fn whoever_is_faster_than_the_limit_waits_also_after_a_restart() {
    let mut site = Site::new();
    let limits = json!({ "bytes_per_second": 10 << 10 });
    assert_eq!(site.put("volumes/a/limits", &limits).0, 200);
    for _ in 0..2 {
        let (disk, begun) = (site.disk("a"), Instant::now());
        for at in 0..5 {
            disk.write_all_at(&[1; 1 << 10], at << 10).unwrap();
        }
        // Each but the first waits for the tenth of a second of the one before it.
        assert!(
            begun.elapsed() >= Duration::from_millis(400),
            "{:?}",
            begun.elapsed()
        );
        drop(disk);
        site.start();
    }
    let slow = json!({ "operations_per_second": 20 });
    assert_eq!(site.put("volumes/a/limits", &slow).0, 200);
    let (disk, begun) = (site.disk("a"), Instant::now());
    for _ in 0..5 {
        assert_eq!(disk.read_at(&mut [0; 512], 0).unwrap(), 512);
    }
    assert!(
        begun.elapsed() >= Duration::from_millis(200),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn limits_that_let_nothing_through_are_refused() {
    let site = Site::new();
    for limits in [
        json!({ "bytes_per_second": 0 }),
        json!({ "operations_per_second": 0 }),
        json!({ "speed": 1 }),
    ] {
        assert_eq!(site.put("volumes/a/limits", &limits).0, 422, "{limits}");
    }
    assert_eq!(site.put("volumes/c/limits", &json!({})).0, 404);
}
