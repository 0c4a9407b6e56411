//! The service as its clients and its hosts see it.
#![cfg(test)]

use std::fs;
use std::io;
use std::path::PathBuf;

use serde_json::{Value, json};
use strongroom_http_storage::Service;
use tempfile::TempDir;
use ureq::Agent;
use ureq::http::Request;

const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

struct Site {
    directory: TempDir,
    service: Option<Service>,
}

impl Site {
    fn new() -> Self {
        let (directory, service) = (tempfile::tempdir().unwrap(), None);
        let mut site = Self { directory, service };
        site.start();
        site
    }

    fn start(&mut self) {
        self.service = None;
        self.service = Some(Service::start(self.directory.path(), "127.0.0.1:0".parse().unwrap()).unwrap());
    }

    fn ask_with(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .build()
            .into();
        let url = format!("http://{}/v1/{path}", self.service.as_ref().unwrap().address());
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header("connection", "close");
        let request = agent
            .configure_request(request.body(body).unwrap())
            .allow_non_standard_methods(true)
            .build();
        let mut response = agent.run(request).unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        (
            response.status().as_u16(),
            serde_json::from_str(&text).unwrap_or(Value::Null),
        )
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.ask_with(method, path, &body.to_string())
    }

    fn status(&self, method: &str, path: &str, body: &Value) -> u16 {
        self.ask(method, path, body).0
    }

    /// Where a host sees the volume.
    fn export(&self, volume: &str) -> PathBuf {
        let (status, answer) = self.ask("PUT", &format!("volumes/{volume}/exports/host"), &Value::Null);
        assert_eq!(status, 200, "{answer}");
        answer["path"].as_str().unwrap().into()
    }

    fn file(&self, volume: &str, name: &str) -> PathBuf {
        self.directory.path().join("volumes").join(volume).join(name)
    }
}

fn encrypted(bytes: u64, passphrase: &str) -> Value {
    json!({ "bytes": bytes, "key": { "passphrase": passphrase, "stretch": false } })
}

fn write(path: &PathBuf, content: &[u8]) {
    let mut file = fs::File::options().write(true).open(path).unwrap();
    io::Write::write_all(&mut file, content).unwrap();
    file.sync_all().unwrap();
}

#[test]
fn the_same_request_again_is_the_same_volume_and_any_other_is_a_conflict() {
    let site = Site::new();
    let (status, made) = site.ask("PUT", "volumes/v", &encrypted(8192, KEY));
    assert_eq!(status, 201, "{made}");
    assert_eq!(
        site.ask("PUT", "volumes/v", &encrypted(8192, KEY)),
        (200, made.clone())
    );
    assert_eq!(site.status("PUT", "volumes/v", &encrypted(4096, KEY)), 409);
    assert_eq!(site.status("PUT", "volumes/v", &json!({ "bytes": 8192 })), 409);
    assert_eq!(
        site.status("PUT", "volumes/v", &encrypted(8192, &KEY.replace('0', "1"))),
        403
    );
    assert_eq!(site.ask("GET", "volumes/v", &Value::Null), (200, made));
    assert_eq!(site.ask("GET", "volumes", &Value::Null), (200, json!(["v"])));
    for _ in 0..2 {
        assert_eq!(site.status("DELETE", "volumes/v", &Value::Null), 204);
        assert_eq!(site.status("GET", "volumes/v", &Value::Null), 404);
    }
}

#[test]
fn a_host_writes_and_reads_in_clear_what_is_ciphertext_in_the_directory() {
    let site = Site::new();
    site.ask("PUT", "volumes/v", &encrypted(1 << 20, KEY));
    let (at, text) = (site.export("v"), b"sixteen letters!".repeat(1000));
    write(&at, &text);
    let read = fs::read(&at).unwrap();
    assert_eq!(read.len(), 1 << 20);
    assert_eq!(read[..text.len()], text);
    assert!(read[text.len()..].iter().all(|b| *b == 0));
    let kept = fs::read(site.file("v", "blocks")).unwrap();
    assert!(!kept.windows(16).any(|w| w == &text[..16]));
    let record = fs::read_to_string(site.file("v", "record.json")).unwrap();
    assert!(!record.contains(KEY));
}

#[test]
fn a_host_can_neither_resize_a_volume_nor_write_behind_its_end() {
    let site = Site::new();
    site.ask("PUT", "volumes/v", &json!({ "bytes": 4096 }));
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(site.export("v"))
        .unwrap();
    assert_eq!(
        file.set_len(8192).unwrap_err().kind(),
        io::ErrorKind::PermissionDenied
    );
    let beyond = std::os::unix::fs::FileExt::write_at(&file, b"x", 4096).unwrap_err();
    assert_eq!(beyond.kind(), io::ErrorKind::StorageFull);
    assert_eq!(
        site.status("PUT", "volumes/v/bytes", &json!({ "bytes": 8192 })),
        200
    );
    assert_eq!(file.metadata().unwrap().len(), 8192);
    assert_eq!(
        site.status("PUT", "volumes/v/bytes", &json!({ "bytes": 4096 })),
        422
    );
}

#[test]
fn a_host_that_bypasses_its_cache_works_in_sectors_as_on_a_disk() {
    use std::os::unix::fs::{FileExt, OpenOptionsExt};
    let site = Site::new();
    site.ask("PUT", "volumes/v", &json!({ "bytes": 4608 }));
    let direct = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).unwrap();
    let file = fs::File::options()
        .read(true)
        .write(true)
        .custom_flags(direct)
        .open(site.export("v"))
        .unwrap();
    let mut buffer = vec![0; 1024];
    assert_eq!(file.read_at(&mut buffer[..512], 4096).unwrap(), 512);
    assert_eq!(
        file.read_at(&mut buffer[..1], 0).unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );
    assert_eq!(
        file.write_at(&buffer[..100], 0).unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );
    assert_eq!(file.write_at(&buffer[..512], 4096).unwrap(), 512);
}

#[test]
fn the_service_forgets_keys_when_it_ends() {
    let mut site = Site::new();
    site.ask("PUT", "volumes/v", &encrypted(4096, KEY));
    write(&site.export("v"), b"kept");
    site.start();
    assert_eq!(site.status("PUT", "volumes/v/exports/host", &Value::Null), 423);
    let key = |passphrase: &str| json!({ "passphrase": passphrase, "stretch": false });
    assert_eq!(site.status("POST", "volumes/v/unlock", &key("another one")), 403);
    assert_eq!(site.status("PUT", "volumes/v/exports/host", &Value::Null), 423);
    assert_eq!(site.status("POST", "volumes/v/unlock", &key(KEY)), 200);
    assert_eq!(fs::read(site.export("v")).unwrap()[..4], *b"kept");
}

#[test]
fn a_snapshot_brings_back_content_and_size() {
    let site = Site::new();
    site.ask("PUT", "volumes/v", &encrypted(4096, KEY));
    let at = site.export("v");
    write(&at, b"first");
    for _ in 0..2 {
        assert_eq!(site.status("PUT", "volumes/v/snapshots/s", &Value::Null), 200);
    }
    write(&at, b"later");
    site.ask("PUT", "volumes/v/bytes", &json!({ "bytes": 8192 }));
    assert_eq!(
        site.status("POST", "volumes/v/snapshots/s/restore", &Value::Null),
        200
    );
    let read = fs::read(&at).unwrap();
    assert_eq!((read.len(), &read[..5]), (4096, &b"first"[..]));
    for _ in 0..2 {
        assert_eq!(site.status("DELETE", "volumes/v/snapshots/s", &Value::Null), 200);
    }
    assert_eq!(
        site.status("POST", "volumes/v/snapshots/s/restore", &Value::Null),
        404
    );
}

#[test]
fn what_was_stopped_in_the_middle_is_finished_or_removed_at_the_next_start() {
    let mut site = Site::new();
    site.ask("PUT", "volumes/v", &encrypted(4096, KEY));
    write(&site.export("v"), b"first");
    site.ask("PUT", "volumes/v/snapshots/s", &Value::Null);
    site.service = None;
    // As if it had been killed between the note that a restore begins and the copy, and in the middle of a create.
    let record = fs::read_to_string(site.file("v", "record.json")).unwrap();
    let begun = record.replace("\"restoring\": null", "\"restoring\": \"s\"");
    assert_ne!(begun, record);
    fs::write(site.file("v", "record.json"), begun).unwrap();
    fs::write(site.file("v", "blocks"), b"half of something").unwrap();
    fs::create_dir(site.directory.path().join("volumes/.unfinished-w")).unwrap();
    site.start();
    assert_eq!(site.ask("GET", "volumes", &Value::Null), (200, json!(["v"])));
    site.ask("PUT", "volumes/v", &encrypted(4096, KEY));
    assert_eq!(fs::read(site.export("v")).unwrap()[..5], *b"first");
    assert!(!site.directory.path().join("volumes/.unfinished-w").exists());
}

#[test]
fn a_block_that_somebody_changed_cannot_be_read() {
    let site = Site::new();
    site.ask("PUT", "volumes/v", &encrypted(8192, KEY));
    let at = site.export("v");
    write(&at, &[7; 8192]);
    let mut kept = fs::read(site.file("v", "blocks")).unwrap();
    kept[5000] ^= 1;
    fs::write(site.file("v", "blocks"), kept).unwrap();
    let file = fs::File::open(&at).unwrap();
    let read = |at| std::os::unix::fs::FileExt::read_at(&file, &mut [0; 512], at);
    assert_eq!(read(0).unwrap(), 512);
    assert_eq!(
        read(4096).unwrap_err().raw_os_error(),
        Some(rustix::io::Errno::IO.raw_os_error())
    );
}

#[test]
fn a_service_has_one_owner_for_good() {
    let mut site = Site::new();
    let claim = |site: &Site, owner: &str| site.status("PUT", "owner", &json!({ "owner": owner }));
    assert_eq!(claim(&site, "shelf"), 204);
    site.start();
    assert_eq!(claim(&site, "other"), 409);
    assert_eq!(claim(&site, "shelf"), 204);
    assert_eq!(site.ask("GET", "volumes", &Value::Null), (200, json!([])));
}

#[test]
fn no_refusal_quotes_the_body() {
    let site = Site::new();
    let bodies = [
        format!("{{\"bytes\": 4096, \"key\": {{\"passphrase\": \"{KEY}\", \"strech\": false}}}}"),
        format!("{{\"bytes\": \"{KEY}\"}}"),
        format!("\"{KEY}\""),
    ];
    for body in bodies {
        let (status, refusal) = site.ask_with("PUT", "volumes/v", &body);
        assert_eq!(status, 422, "{refusal}");
        assert!(!refusal.to_string().contains("0123"), "{refusal}");
    }
}

#[test]
fn names_and_sizes_that_are_none_are_refused() {
    let site = Site::new();
    for name in [".hidden", "..", "UPPER", "a.b", "-a", "%2e%2e", &"x".repeat(81)] {
        let (status, refusal) = site.ask("PUT", &format!("volumes/{name}"), &json!({ "bytes": 4096 }));
        assert_eq!(status, 422, "{name}: {refusal}");
    }
    for bytes in [
        json!(0),
        json!(1),
        json!(4097),
        json!(u64::MAX),
        json!(-512),
        json!("4096"),
    ] {
        assert_eq!(
            site.status("PUT", "volumes/v", &json!({ "bytes": bytes })),
            422,
            "{bytes}"
        );
    }
    assert_eq!(site.status("GET", "volumes/v/else", &Value::Null), 404);
    assert_eq!(site.status("PATCH", "volumes/v", &Value::Null), 404);
    assert_eq!(site.ask("GET", "volumes", &Value::Null), (200, json!([])));
}

#[test]
fn a_volume_that_is_open_on_a_host_is_not_removed_restored_or_taken_away() {
    let site = Site::new();
    site.ask("PUT", "volumes/v", &json!({ "bytes": 4096 }));
    site.ask("PUT", "volumes/v/snapshots/s", &Value::Null);
    let open = fs::File::open(site.export("v")).unwrap();
    for (method, path) in [
        ("DELETE", "volumes/v"),
        ("POST", "volumes/v/snapshots/s/restore"),
        ("DELETE", "volumes/v/exports/host"),
    ] {
        let (status, refusal) = site.ask(method, path, &Value::Null);
        assert_eq!((status, refusal["error"].as_str()), (409, Some("busy")), "{path}");
    }
    drop(open);
    assert_eq!(site.status("DELETE", "volumes/v", &Value::Null), 204);
}
